"""Callers that put any bytes on the wire, lawful or not."""

import itertools
import socket
import struct
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom import build_context
from pynetdicom.pdu import A_ASSOCIATE_RQ
from pynetdicom.pdu_primitives import (
    A_ASSOCIATE,
    ImplementationClassUIDNotification,
    MaximumLengthNotification,
)

from node.wire.command_set import Command, encode_command, parse_command
from tests.reception.mammograms import FOR_PRESENTATION, uid

VERIFICATION = "1.2.840.10008.1.1"
Fragment = tuple[int, int, bytes]
"""Presentation context, message control header, bytes."""


def association_request(
    *,
    calling: str = "MODALITY1",
    called: str = "MAMMOCALC",
    sop_classes: Sequence[str] = (FOR_PRESENTATION, VERIFICATION),
    longest_pdu: int = 16384,
) -> bytes:
    request = A_ASSOCIATE()
    request.application_context_name = "1.2.840.10008.3.1.1.1"
    request.calling_ae_title, request.called_ae_title = calling, called
    contexts = [build_context(one, ExplicitVRLittleEndian) for one in sop_classes]
    for number, context in enumerate(contexts):
        context.context_id = 2 * number + 1
    request.presentation_context_definition_list = contexts
    length, implementation = MaximumLengthNotification(), ImplementationClassUIDNotification()
    length.maximum_length_received = longest_pdu
    implementation.implementation_class_uid = uid("a raw caller")
    request.user_information = [length, implementation]
    return bytes(A_ASSOCIATE_RQ(request).encode())


def command(field: int, sop_class_uid: str, sop_instance_uid: str = "", *, data_set: bool = True) -> bytes:
    elements = {
        0x0002: sop_class_uid.encode(),
        0x0100: struct.pack("<H", field),
        0x0110: struct.pack("<H", 7),
        0x0700: struct.pack("<H", 0),
        0x0800: struct.pack("<H", 0 if data_set else 0x0101),
    }
    if sop_instance_uid:
        elements[0x1000] = sop_instance_uid.encode()
    return encode_command(elements)


def fragments(context_id: int, encoded: bytes, *, is_command: bool, size: int) -> list[Fragment]:
    starts = range(0, max(len(encoded), 1), size)
    return [
        (
            context_id,
            (1 if is_command else 0) | (2 if start + size >= len(encoded) else 0),
            encoded[start : start + size],
        )
        for start in starts
    ]


def pdus(values: Iterable[Fragment], *, values_in_a_pdu: int = 1) -> Iterator[bytes]:
    queue = iter(values)
    while some := list(itertools.islice(queue, values_in_a_pdu)):
        body = b"".join(
            struct.pack(">IBB", len(data) + 2, context, control) + data for context, control, data in some
        )
        yield struct.pack(">BxI", 4, len(body)) + body


def c_store(
    sop_instance_uid: str,
    data_set: bytes,
    *,
    size: int = 16000,
    values_in_a_pdu: int = 1,
    context_id: int = 1,
) -> bytes:
    asked = command(1, FOR_PRESENTATION, sop_instance_uid)
    values = fragments(context_id, asked, is_command=True, size=size)
    values += fragments(context_id, data_set, is_command=False, size=size)
    return b"".join(pdus(values, values_in_a_pdu=values_in_a_pdu))


C_ECHO = b"".join(pdus(fragments(3, command(0x30, VERIFICATION, data_set=False), is_command=True, size=1000)))
RELEASE_RQ = struct.pack(">BxI", 5, 4) + bytes(4)


class RawCaller:
    """A connection with the node."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=60)

    def associate(self, **asked) -> int:
        """Ask for an association, and return the type of the answer."""
        self.socket.sendall(association_request(**asked))
        return self.pdu()[0]

    def pdu(self) -> tuple[int, bytes]:
        """The type and body of the next PDU; (0, b"") where the node closed the connection."""
        head = self._exactly(6)
        if len(head) < 6:
            return 0, b""
        kind, length = struct.unpack(">BxI", head)
        return kind, self._exactly(length)

    def response(self) -> Command:
        """The next response, from as many PDUs as it takes."""
        encoded, last = b"", False
        while not last:
            kind, body = self.pdu()
            assert kind == 4, f"PDU of type {kind}"
            last = bool(body[5] & 2)
            encoded += body[6:]
        return parse_command(body[4], encoded)

    def status(self) -> int:
        return self.response().number(0x0900)

    def _exactly(self, length: int) -> bytes:
        got = b""
        while len(got) < length:
            try:
                piece = self.socket.recv(length - len(got))
            except ConnectionResetError:
                return b""
            if not piece:
                return got
            got += piece
        return got


@contextmanager
def raw_caller(port: int) -> Iterator[RawCaller]:
    caller = RawCaller(port)
    try:
        yield caller
    finally:
        caller.socket.close()
