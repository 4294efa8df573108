"""What a request for an association may hold that we do not know or use (PS3.8 9.3.1, annex D.2)."""

import struct
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.negotiation import negotiate
from node.wire.pdu import ProtocolViolation
from tests.reception.conftest import ListeningNode
from tests.reception.mammograms import uid
from tests.reception.raw_callers import RELEASE_RQ, association_request, c_store, raw_caller

ACCEPTED, RELEASED, ABORTED = 2, 6, 7
USER_INFORMATION = 0x50


def item(kind: int, value: bytes) -> bytes:
    return struct.pack(">BxH", kind, len(value)) + value


def pdu(body: bytes) -> bytes:
    return struct.pack(">BxI", 1, len(body)) + body


def told_besides(extra: bytes) -> bytes:
    """The usual request, with one more sub-item in its user information, which comes last."""
    request = association_request()
    at = request.rindex(item(0x51, struct.pack(">I", 16384))) - 4
    kind, length = struct.unpack_from(">BxH", request, at)
    assert kind == USER_INFORMATION
    assert at + 4 + length == len(request)
    return pdu(request[6:at] + item(USER_INFORMATION, request[at + 4 :] + extra))


REQUESTS = {
    "nothing more": told_besides(b""),
    "an unknown sub-item": told_besides(item(0x5A, b"abcd")),
    "an unknown sub-item, empty": told_besides(item(0xF0, b"")),
    "user identity of a later type": told_besides(item(0x58, bytes([6, 0, 0, 1]) + b"x" + bytes(2))),
    "a version name padded by NUL": told_besides(item(0x55, b"VERS 1\0\0")),
    "a version name that is too long": told_besides(item(0x55, b"MAMMOWORKSTATION 4.2")),
    "an implementation class UID that is none": told_besides(item(0x52, b"1.2.x")),
    "an unknown item": pdu(association_request()[6:] + item(0x70, b"later")),
    "titles padded by NUL": association_request()
    .replace(b"MAMMOCALC".ljust(16), b"MAMMOCALC".ljust(16, b"\0"))
    .replace(b"MODALITY1".ljust(16), b"MODALITY1".ljust(16, b"\0")),
    "a title in no ASCII": association_request().replace(b"MODALITY1", b"MODALIT\xc91"),
}


@pytest.mark.parametrize("told", REQUESTS)
def test_what_we_do_not_know_takes_no_association_down(node: ListeningNode, told: str):
    request = REQUESTS[told]
    with raw_caller(node.port) as caller:
        caller.socket.sendall(request)
        kind, answer = caller.pdu()
        assert kind == ACCEPTED
        assert answer[4:68] == request[10:74], "these fields come back as they were sent (PS3.8 table 9-17)"
        caller.socket.sendall(RELEASE_RQ)
        assert caller.pdu()[0] == RELEASED


@pytest.mark.parametrize(
    "request_pdu",
    [
        pdu(association_request()[6:] + item(0x70, b"later")[:-1]),
        pdu(association_request()[6:] + b"\x70\0"),
        pdu(association_request()[6:50]),
        told_besides(b"\x5a\0\0\x09"),
    ],
)
def test_a_request_that_ends_within_an_item_is_aborted(node: ListeningNode, request_pdu: bytes):
    with raw_caller(node.port) as caller:
        caller.socket.sendall(request_pdu)
        assert caller.pdu()[0] == ABORTED


DICOM = b"1.2.840.10008.3.1.1.1"


def versioned(version: int) -> bytes:
    request = association_request()
    return request[:6] + struct.pack(">H", version) + request[8:]


def named(application_context: bytes) -> bytes:
    request = association_request()
    assert item(0x10, DICOM) in request
    return pdu(request[6:].replace(item(0x10, DICOM), item(0x10, application_context)))


@pytest.mark.parametrize(
    ("request_pdu", "rejected"),
    [
        (named(b"1.2.840.10008.3.1.1.2"), b"\1\1\2"),
        (named(b""), b"\1\1\2"),
        (pdu(association_request()[6:].replace(item(0x10, DICOM), b"")), b"\1\1\2"),
        (pdu(association_request()[6:] + item(0x10, b"1.2.3")), b"\1\1\2"),
        (versioned(0), b"\1\2\2"),
        (versioned(2), b"\1\2\2"),
    ],
)
def test_what_is_no_association_of_dicom_is_rejected(
    node: ListeningNode, request_pdu: bytes, rejected: bytes
):
    """With source and reason of PS3.8 table 9-21."""
    with raw_caller(node.port) as caller:
        caller.socket.sendall(request_pdu)
        kind, body = caller.pdu()
        assert (kind, body[1:]) == (3, rejected)


@pytest.mark.parametrize(
    "request_pdu",
    [
        named(DICOM + b"\0"),
        named(DICOM + b" "),
        versioned(3),
    ],
)
def test_a_padded_name_and_later_versions_besides_are_ours(node: ListeningNode, request_pdu: bytes):
    with raw_caller(node.port) as caller:
        caller.socket.sendall(request_pdu)
        assert caller.pdu()[0] == ACCEPTED


def test_a_request_that_is_shorter_than_any_is_called_so():
    with pytest.raises(ProtocolViolation, match="shorter than any"):
        negotiate(pdu(association_request()[6:50]))


@given(st.binary(max_size=300))
def test_of_any_bytes_after_the_fixed_fields_a_request_is_made_or_they_break_a_rule(items: bytes):
    with suppress(ProtocolViolation):  # nothing else
        assert negotiate(pdu(association_request()[6:74] + items)).answer[0] == ACCEPTED


@pytest.mark.parametrize("longest", [70, 128, 200, 256, 16384])
def test_no_pdu_of_ours_is_longer_than_the_other_side_takes(node: ListeningNode, longest: int):
    """A maximum length is never to be exceeded (PS3.8 D.1)."""
    with raw_caller(node.port) as caller:
        assert caller.associate(longest_pdu=longest) == ACCEPTED
        caller.socket.sendall(c_store(uid("no mammogram"), b"\xff" * 64))  # refused, with a comment
        lengths, is_last = [], False
        while not is_last:
            kind, body = caller.pdu()
            assert kind == 4
            lengths.append(len(body))
            is_last = bool(body[5] & 2)
        assert max(lengths) <= longest
