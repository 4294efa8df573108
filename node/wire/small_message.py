"""Whether a small C-STORE lies in a buffer from its first to its last byte, before anything of it is taken out."""

from collections.abc import Iterator
from enum import Enum

from node.wire.command_set import CommandField, parse_command
from node.wire.pdu import COMMAND, HEADER, LAST, PDV_HEADER, PduType, ProtocolViolation

_MOST_PARTS = 128
"""PDUs and fragments of a message that is looked for: it is looked at anew whenever bytes came."""


class Content(Enum):
    """What lies in a buffer, between two messages."""

    BEGUN = "begun"
    """Nothing, or the begin of what may be a small C-STORE; the rest is yet to come."""
    SMALL = "small"
    """A command and a small data set, to the last byte; more may follow."""
    OTHER = "other"
    """Something else, or what breaks a rule: whoever takes it will see."""


class _Other(Exception):
    """It is no small C-STORE."""


def content_of(buffer: memoryview, longest: int) -> Content:
    """Return what a buffer begins with; a data set of more than `longest` bytes is not small."""
    command, is_whole, passed = bytearray(), False, 0
    try:
        for fragment, control in _fragments(buffer, longest):
            if control & COMMAND:
                if is_whole:  # a second message
                    return Content.OTHER
                command += fragment
                is_whole = bool(control & LAST)
                continue
            passed += len(fragment)
            if passed > longest:
                return Content.OTHER
            if control & LAST:
                return Content.SMALL
        if is_whole and not passed:
            _see_that_a_data_set_follows(bytes(command))
    except (_Other, ProtocolViolation):
        return Content.OTHER
    return Content.BEGUN


def _fragments(buffer: memoryview, longest: int) -> Iterator[tuple[memoryview, int]]:
    """Yield the fragments of P-DATA-TF PDUs that are there in full, each with its message control header."""
    place = count = 0
    while len(buffer) - place >= HEADER.size:
        kind, length = HEADER.unpack_from(buffer, place)
        count += 1
        if kind != PduType.DATA_TF or length > longest + PDV_HEADER.size or count > _MOST_PARTS:
            raise _Other
        end = place + HEADER.size + length
        if end > len(buffer):
            return
        place += HEADER.size
        while place < end:
            count += 1
            if end - place < PDV_HEADER.size or count > _MOST_PARTS:
                raise _Other
            length, _, control = PDV_HEADER.unpack_from(buffer, place)
            begin, place = place + PDV_HEADER.size, place + 4 + length
            if length < 2 or place > end:
                raise _Other
            yield buffer[begin:place], control


def _see_that_a_data_set_follows(command: bytes) -> None:
    """Look at a command that is there alone: one without a data set is to be answered, not waited with."""
    parsed = parse_command(0, command)
    if parsed.field != CommandField.C_STORE or not parsed.has_data_set:
        raise _Other
