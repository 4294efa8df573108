"""An A-ASSOCIATE-RQ with nothing but what we use, so that a sender that knows more than our library is understood.

Items and sub-items of unknown types are to be passed over (PS3.8 9.3.1, annex D.2). AE titles were judged before (node/porter).
"""

from collections.abc import Iterator
from struct import Struct

from node.wire.pdu import HEADER, PduType, ProtocolViolation

_ITEM = Struct(">BxH")
_FIXED_BYTES = 74
"""Before the items: type, length, protocol version, and what comes back as it was sent (PS3.8 tables 9-11 and 9-17)."""
_SENT_BACK = slice(10, _FIXED_BYTES)
_TITLES = b"CALLED".ljust(16) + b"CALLING".ljust(16) + bytes(32)

_USER_INFORMATION = 0x50
_USED = frozenset({0x10, 0x20, _USER_INFORMATION})
"""Application context, presentation contexts, user information."""
_USED_OF_USER = frozenset({0x51, 0x54})
"""Maximum length (PS3.8 D.1), roles (PS3.7 D.3.3.4)."""


def what_we_use(request: bytes) -> bytes:
    """Return a request, a whole PDU, without items and titles that we do not use.

    Raises:
        ProtocolViolation: if it is shorter than any, or an item is longer than what it lies in.
    """
    if len(request) < _FIXED_BYTES:
        raise ProtocolViolation("The request for an association is shorter than any.")
    items = b"".join(_used(request[_FIXED_BYTES:]))
    fixed = request[HEADER.size : _SENT_BACK.start] + _TITLES
    return HEADER.pack(PduType.ASSOCIATE_RQ, len(fixed) + len(items)) + fixed + items


def answering(answer: bytes, request: bytes) -> bytes:
    """Return an A-ASSOCIATE-AC with the fields that come back as the request had them."""
    return answer[: _SENT_BACK.start] + request[_SENT_BACK] + answer[_SENT_BACK.stop :]


def _used(items: bytes) -> Iterator[bytes]:
    for kind, value in _values(items):
        if kind == _USER_INFORMATION:
            value = b"".join(_item(*each) for each in _values(value) if each[0] in _USED_OF_USER)  # noqa: PLW2901
        if kind in _USED:
            yield _item(kind, value)


def _values(items: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the type and the value of each item."""
    place = 0
    while place < len(items):
        if len(items) - place < _ITEM.size:
            raise ProtocolViolation("The request for an association ends within an item.")
        kind, length = _ITEM.unpack_from(items, place)
        begin, place = place + _ITEM.size, place + _ITEM.size + length
        if place > len(items):
            raise ProtocolViolation("An item of the request for an association is longer than the request.")
        yield kind, items[begin:place]


def _item(kind: int, value: bytes) -> bytes:
    return _ITEM.pack(kind, len(value)) + value
