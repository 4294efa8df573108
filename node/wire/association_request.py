"""An A-ASSOCIATE-RQ with nothing but what we use, so that a sender that knows more than our library is understood.

Items and sub-items of unknown types are to be passed over (PS3.8 9.3.1, annex D.2). AE titles were judged before (node/porter).
"""

from collections.abc import Iterable, Iterator
from struct import Struct

from node.wire.pdu import HEADER, PduType, ProtocolViolation

_VERSION = Struct(">H")
_VERSION_1 = 1
"""The bit that says it; no other is to be looked at (PS3.8 9.3.1)."""
_DICOM = b"1.2.840.10008.3.1.1.1"
"""The DICOM application context name (PS3.7 A.2.1)."""
_ITEM = Struct(">BxH")
_FIXED_BYTES = 74
"""Before the items: type, length, protocol version, and what comes back as it was sent (PS3.8 tables 9-11 and 9-17)."""
_SENT_BACK = slice(10, _FIXED_BYTES)
_TITLES = b"CALLED".ljust(16) + b"CALLING".ljust(16) + bytes(32)

_USER_INFORMATION = 0x50
_APPLICATION_CONTEXT = 0x10
_USED = frozenset({_APPLICATION_CONTEXT, 0x20, _USER_INFORMATION})
"""Application context, presentation contexts, user information."""
_USED_OF_USER = frozenset({0x51, 0x54})
"""Maximum length (PS3.8 D.1), roles (PS3.7 D.3.3.4)."""


def is_of_our_version(request: bytes) -> bool:
    """Whether a request, a whole PDU, is of the version of the upper layer protocol that there is."""
    return bool(_VERSION.unpack_from(request, HEADER.size)[0] & _VERSION_1)


def is_of_our_application(request: bytes) -> bool:
    """Whether a request, a whole PDU, names DICOM's application context and no other.

    Raises:
        ProtocolViolation: as `what_we_use` does.
    """
    names = [value for kind, value in _items_of(request) if kind == _APPLICATION_CONTEXT]
    return bool(names) and all(name.rstrip(b"\0 ") == _DICOM for name in names)


def what_we_use(request: bytes) -> bytes:
    """Return a request, a whole PDU, without items and titles that we do not use.

    Raises:
        ProtocolViolation: if it is shorter than any, or an item is longer than what it lies in.
    """
    items = b"".join(_used(_items_of(request)))
    fixed = request[HEADER.size : _SENT_BACK.start] + _TITLES
    return HEADER.pack(PduType.ASSOCIATE_RQ, len(fixed) + len(items)) + fixed + items


def answering(answer: bytes, request: bytes) -> bytes:
    """Return an A-ASSOCIATE-AC with the fields that come back as the request had them."""
    return answer[: _SENT_BACK.start] + request[_SENT_BACK] + answer[_SENT_BACK.stop :]


def _items_of(request: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the type and the value of each item of a whole request."""
    if len(request) < _FIXED_BYTES:
        raise ProtocolViolation("The request for an association is shorter than any.")
    return _values(request[_FIXED_BYTES:])


def _used(items: Iterable[tuple[int, bytes]]) -> Iterator[bytes]:
    for kind, value in items:
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
