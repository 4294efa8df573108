"""The first elements of a data set, where they are as simple as nearly all modalities write them.

What is not simple (an element of undefined length, one out of order, a head that ends too early) is left to the library.
"""

from collections.abc import Collection
from struct import Struct

from pydicom.dataelem import DataElement, RawDataElement
from pydicom.tag import BaseTag

_TAG = Struct("<HH")
_SHORT = Struct("<H")
_LONG = Struct("<I")
_UNDEFINED = 0xFFFFFFFF
_LONG_REPRESENTATIONS = frozenset(
    {b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"}
)
"""Those with two reserved bytes and a length of 32 bits (PS3.5 7.1.2)."""


def scan(
    head: bytes, *, implicit: bool, last: int, wanted: Collection[int]
) -> dict[BaseTag, DataElement | RawDataElement] | None:
    """Return the wanted elements up to the tag `last` of a little-endian data set that begins with `head`.

    None if that is not simple: the library shall read it, and say what is wrong with it.
    """
    found: dict[BaseTag, DataElement | RawDataElement] = {}
    place, before = 0, -1
    while place + 12 <= len(head):
        group, element = _TAG.unpack_from(head, place)
        tag = group << 16 | element
        if tag > last:
            return found
        representation = None if implicit else head[place + 4 : place + 6]
        if representation is None:
            (length,), begin = _LONG.unpack_from(head, place + 4), place + 8
        elif representation in _LONG_REPRESENTATIONS:
            (length,), begin = _LONG.unpack_from(head, place + 8), place + 12
        else:
            (length,), begin = _SHORT.unpack_from(head, place + 6), place + 8
        if length == _UNDEFINED or begin + length > len(head) or tag <= before:
            return None
        if tag in wanted:
            stated = None if representation is None else representation.decode("ascii", "replace")
            value = head[begin : begin + length]
            found[BaseTag(tag)] = RawDataElement(BaseTag(tag), stated, length, value, 0, implicit, True)
        place, before = begin + length, tag
    return None
