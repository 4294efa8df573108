"""Protocol data units that are short enough to be written by hand (PS3.8 9.3)."""

from collections.abc import Iterator
from enum import IntEnum
from struct import Struct


class PduType(IntEnum):
    """What a PDU is, its first byte (PS3.8 9.3.1)."""

    ASSOCIATE_RQ = 1
    ASSOCIATE_AC = 2
    ASSOCIATE_RJ = 3
    DATA_TF = 4
    RELEASE_RQ = 5
    RELEASE_RP = 6
    ABORT = 7


class AbortReason(IntEnum):
    """Why the upper layer gives an association up (PS3.8 9.3.8)."""

    NOT_SPECIFIED = 0
    UNRECOGNIZED_PDU = 1
    UNEXPECTED_PDU = 2
    INVALID_PARAMETER = 6


class ConnectionEnded(Exception):
    """The other side closed the connection, or it broke."""


class TooSlow(Exception):
    """The other side was silent, or trickled, beyond its deadline."""


class ProtocolViolation(Exception):
    """The other side broke a rule of the upper layer; str() is the sentence which."""

    def __init__(self, sentence: str, reason: AbortReason = AbortReason.INVALID_PARAMETER) -> None:
        super().__init__(sentence)
        self.reason = reason


HEADER = Struct(">BxI")
"""Type and length of every PDU."""
PDV_HEADER = Struct(">IBB")
"""Length, presentation context and message control header of a presentation data value (PS3.8 9.3.5.1, E.2)."""
DATA_HEADER = Struct(">BxIIBB")
"""The header of a P-DATA-TF PDU and of its first presentation data value."""

COMMAND, LAST = 1, 2
"""Bits of the message control header (PS3.8 E.2)."""
OF_DATA = frozenset({0, LAST})
"""Message control headers of a data set's fragments."""

SMALL_PDU_BYTES = 64 << 10
"""Of shorter PDUs each is acknowledged at once: Nagle's algorithm holds the next one back until then."""

RELEASE_RP = HEADER.pack(PduType.RELEASE_RP, 4) + bytes(4)
"""A-RELEASE-RP (PS3.8 9.3.7)."""

_REJECTION = Struct(">BxIxBBB")
_ABORT = Struct(">BxIxxBB")
_SERVICE_PROVIDER = 2
_SHORTEST_FRAGMENT = 64
"""A receiver that wants PDUs even shorter is given this much."""


def rejection(result: int, source: int, reason: int) -> bytes:
    """Return A-ASSOCIATE-RJ (PS3.8 table 9-21)."""
    return _REJECTION.pack(PduType.ASSOCIATE_RJ, 4, result, source, reason)


def abort(reason: AbortReason) -> bytes:
    """Return the A-ABORT of a service provider (PS3.8 9.3.8)."""
    return _ABORT.pack(PduType.ABORT, 4, _SERVICE_PROVIDER, reason)


def command_pdus(context_id: int, command: bytes, longest: int) -> bytes:
    """Return an encoded command set as P-DATA-TF PDUs of at most `longest` bytes each; 0 is any length."""
    return b"".join(_data_pdus(context_id, command, longest, kind=COMMAND))


def data_set_pdus(context_id: int, data_set: bytes, longest: int) -> bytes:
    """Return an encoded data set as P-DATA-TF PDUs of at most `longest` bytes each; 0 is any length."""
    return b"".join(_data_pdus(context_id, data_set, longest, kind=0))


def _data_pdus(context_id: int, encoded: bytes, longest: int, *, kind: int) -> Iterator[bytes]:
    room = max(longest - PDV_HEADER.size, _SHORTEST_FRAGMENT) if longest else len(encoded)
    for start in range(0, len(encoded), room):
        fragment = encoded[start : start + room]
        control = kind | (LAST if start + room >= len(encoded) else 0)
        length = len(fragment) + 2
        yield DATA_HEADER.pack(PduType.DATA_TF, length + 4, length, context_id, control) + fragment
