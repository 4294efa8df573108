"""The first elements of a data set, where they are as simple as nearly all modalities write them.

What is not simple (an element of undefined length, one out of order, a head that ends too early) is left to the library.
"""

from collections.abc import Collection
from struct import Struct
from typing import NamedTuple

_EXPLICIT = Struct("<HH2sH")
_IMPLICIT = Struct("<HHI")
_LONG = Struct("<I")
LONG_REPRESENTATIONS = frozenset(
    {b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"}
)
"""Those with two reserved bytes and a length of 32 bits (PS3.5 7.1.2)."""
SHORT_REPRESENTATIONS = frozenset(
    {
        *(b"AE", b"AS", b"AT", b"CS", b"DA", b"DS", b"DT", b"FD", b"FL", b"IS", b"LO", b"LT", b"PN"),
        *(b"SH", b"SL", b"SS", b"ST", b"TM", b"UI", b"UL", b"US"),
    }
)
"""Those with a length of 16 bits; what is none of either may be of a sender that mixes encodings."""
_SHORTEST = 12
"""Bytes of the longest element that has no value."""


class Element(NamedTuple):
    """One element as it was encoded."""

    representation: str | None
    """None where it is implicit."""
    value: bytes


def scan(head: bytes, *, implicit: bool, last: int, wanted: Collection[int]) -> dict[int, Element] | None:
    """Return the wanted elements up to the tag `last` of a little-endian data set that begins with `head`, by tag.

    None if that is not simple: the library shall read it, and say what is wrong with it.
    """
    found: dict[int, Element] = {}
    place, before, size = 0, -1, len(head)
    representation: bytes | None = None
    while place + _SHORTEST <= size:
        if implicit:
            group, element, length = _IMPLICIT.unpack_from(head, place)
        else:
            group, element, representation, length = _EXPLICIT.unpack_from(head, place)
        tag = group << 16 | element
        if tag > last:
            return found
        begin = place + 8
        if representation in LONG_REPRESENTATIONS:
            (length,), begin = _LONG.unpack_from(head, begin), begin + 4
        elif not implicit and representation not in SHORT_REPRESENTATIONS:
            return None
        end = begin + length
        if end > size or tag <= before:  # an undefined length, too, goes far beyond any head
            return None
        if tag in wanted:
            stated = None if representation is None else representation.decode("ascii", "replace")
            found[tag] = Element(stated, head[begin:end])
        place, before = end, tag
    return None
