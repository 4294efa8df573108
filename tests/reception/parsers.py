"""The parsers that the bytes of strangers reach: each understands what it is given, or calls it unlawful."""

import os
import socket
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from functools import partial
from io import BytesIO

from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from typing_extensions import override

from node.arrival import SMALL_BYTES
from node.dimse_status import InstanceRefused
from node.instance_header import MALFORMED, read_instance_header
from node.negotiation import negotiate
from node.wire.association_request import is_of_our_application
from node.wire.bypass import Bypass, Rest
from node.wire.command_set import CommandField, parse_command
from node.wire.inbox import Aborted, Inbox, Released
from node.wire.pdu import DATA_HEADER, LAST, ConnectionEnded, PduType, ProtocolViolation, TooSlow
from node.wire.small_message import Content
from tests.reception.fuzzing import COMMAND, MESSAGES, REQUEST, SYNTAXES
from tests.reception.mammograms import FOR_PRESENTATION, encoded, mammogram

_CT = "1.2.840.10008.5.1.4.1.1.2"


class _Unacknowledged(socket.socket):
    """A connection within this machine, to which the options of TCP mean nothing."""

    @override
    def setsockopt(self, level: int, *arguments: object) -> None:
        if level != socket.IPPROTO_TCP:
            super().setsockopt(level, *arguments)


def _messages(stream: bytes) -> None:
    """PDUs, the fragments in them, and the messages that these make."""
    end, theirs = socket.socketpair()
    with _Unacknowledged(fileno=end.detach()) as ours, theirs:
        theirs.sendall(stream)
        theirs.shutdown(socket.SHUT_WR)
        inbox = Inbox(ours, silence=timedelta(seconds=5))
        with suppress(Released, Aborted, ConnectionEnded, TooSlow, ProtocolViolation):
            while True:
                command = inbox.next_command()
                if command.has_data_set:
                    inbox.pass_data_set(command.context_id, lambda _: None)


def _at_the_desk(stream: bytes) -> None:
    """What is seen as a small C-STORE is taken, or called unlawful, without a byte more."""
    end, theirs = socket.socketpair()
    with _Unacknowledged(fileno=end.detach()) as ours, theirs:
        theirs.sendall(stream)
        inbox = Inbox(ours, silence=timedelta(milliseconds=1))
        if inbox.look(SMALL_BYTES) is not Content.SMALL:
            return
        with suppress(ProtocolViolation):
            command = inbox.next_command()
            if command.field == CommandField.C_STORE and command.has_data_set:
                inbox.pass_data_set(command.context_id, lambda _: None)


class _Memory:
    """A file that is in memory alone."""

    in_large_pieces = True

    def __init__(self) -> None:
        self.descriptor = os.memfd_create("fuzz")
        self.bytes = 0

    def moved(self, count: int) -> None:
        self.bytes += count

    def fail(self, failure: OSError) -> None:
        raise failure


def _around(stream: bytes) -> None:
    """PDUs whose values go around the process; two bytes say how much of the first value is left."""
    end, theirs = socket.socketpair()
    with end as ours, theirs:
        theirs.sendall(stream[2:])
        theirs.shutdown(socket.SHUT_WR)
        way, file = Bypass(), _Memory()

        def receive() -> int:
            if came := way.fill(ours.fileno()):
                return came
            raise ConnectionEnded("The other side closed the connection.")

        try:
            left = int.from_bytes(stream[:2])
            rest = way.pass_on(receive, file, context_id=1, rest=Rest(left, is_last=False))
            assert rest.header or (rest.is_last and not rest.left)
            assert os.fstat(file.descriptor).st_size == file.bytes
        except ConnectionEnded:
            pass
        finally:
            way.close()
            os.close(file.descriptor)


def _command(encoded_command: bytes) -> None:
    with suppress(ProtocolViolation):
        parse_command(1, encoded_command)


def _request(request: bytes) -> None:
    with suppress(ProtocolViolation):
        is_of_our_application(request)
    with suppress(ProtocolViolation):
        assert negotiate(request).answer[0] == 2


def _header(data_set: bytes, *, syntax: str, sop_class_uid: str = FOR_PRESENTATION) -> None:
    with suppress(InstanceRefused):
        read_instance_header(BytesIO(data_set), transfer_syntax_uid=syntax, sop_class_uid=sop_class_uid)


def header_as_the_library_sees_it(data_set: bytes, *, syntax: str = ExplicitVRLittleEndian) -> None:
    """Where both understand a header, they agree on whose image it is."""
    implicit = syntax == ImplicitVRLittleEndian
    try:
        theirs = read_dataset(
            BytesIO(data_set), implicit, True, stop_when=lambda tag, _vr, _length: tag > 0x00540220
        )
        said = [str(theirs.get(name) or "") for name in ("SOPInstanceUID", "StudyInstanceUID")]
    except MALFORMED:
        return
    try:
        ours = read_instance_header(
            BytesIO(data_set), transfer_syntax_uid=syntax, sop_class_uid=FOR_PRESENTATION
        )
    except InstanceRefused:
        return
    assert [ours.sop_instance_uid, ours.study_instance_uid] == said


PARSERS: tuple[Callable[[bytes], None], ...] = (
    _messages,
    _command,
    _request,
    *(partial(_header, syntax=syntax) for syntax in SYNTAXES),
    partial(_header, syntax=ExplicitVRLittleEndian, sop_class_uid=_CT),
    header_as_the_library_sees_it,
    _around,
    _at_the_desk,
    partial(header_as_the_library_sees_it, syntax=ImplicitVRLittleEndian),
)


def understand(data: bytes) -> None:
    """Let the parser that the first byte chooses understand the others.

    Raises:
        Exception: what no parser may raise.
    """
    if data:
        PARSERS[data[0] % len(PARSERS)](data[1:])


def image_without_pixels() -> Dataset:
    """An item that could be a header."""
    image = mammogram("an item")
    del image.PixelData
    return image


def seeds() -> list[bytes]:
    """Lawful bytes for each parser."""
    image = mammogram("fuzz", side=8)
    image.private_block(0x0009, "A VENDOR", create=True).add_new(0x01, "OB", bytes(30))
    last = DATA_HEADER.pack(PduType.DATA_TF, 26, 22, 1, LAST) + bytes(20)
    image.ReferencedStudySequence = [image_without_pixels(), image_without_pixels()]
    image["ReferencedStudySequence"].is_undefined_length = True
    image.ReferencedStudySequence[0].is_undefined_length_sequence_item = True
    data_sets = [encoded(image, syntax) for syntax in (*SYNTAXES, *[ExplicitVRLittleEndian] * 2)]
    around = [b"\0\4rest" + last, b"\0\0" + last + COMMAND]
    lawful = [
        [*MESSAGES, b"".join(MESSAGES)],
        [COMMAND],
        [REQUEST],
        *([each] for each in data_sets),
        around,
        MESSAGES,
        [encoded(image, ImplicitVRLittleEndian)],
    ]
    return [bytes([place]) + one for place, many in enumerate(lawful) for one in many]
