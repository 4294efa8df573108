"""The wanted elements of a header, found by stepping over sequences that nobody asks for; they are not built (PS3.5 7.5).

What is not regular (a value representation that nobody knows, an item that does not end) is left to the library.
"""

from collections.abc import Collection
from io import SEEK_END, SEEK_SET
from struct import Struct
from typing import BinaryIO, NamedTuple

from node.arrival import DataSet
from node.dimse_status import InstanceRefused
from node.header_scan import LONG_REPRESENTATIONS, SHORT_REPRESENTATIONS

MOST_STEPS = 300_000
"""Elements and items that are stepped over; others wait for that, half a second. A list of instances has four for each."""
MOST_BYTES = 1 << 20
"""Of the wanted elements together."""

_UNDEFINED = 0xFFFFFFFF
_ITEM, _END_OF_ITEM, _END_OF_SEQUENCE = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_DELIMITERS = 0xFFFE
_WINDOW_BYTES = 64 << 10
_LONGEST_HEADER = 12
_DEEPEST = 32
"""Sequences within sequences that are stepped over."""


class _Irregular(Exception):
    """Stepping over it would be guessing."""


class _Element(NamedTuple):
    tag: int
    representation: bytes
    """Empty where it is implicit."""
    value: int
    """Where the value begins."""
    length: int


def wanted_of(
    data_set: BinaryIO | DataSet, *, implicit: bool, little_endian: bool, last: int, wanted: Collection[int]
) -> bytes | None:
    """Return the wanted elements up to the tag `last` as they are encoded, from where the file stands.

    None if the data set is not regular.

    Raises:
        InstanceRefused: if too much stands before them.
    """
    walk = _Walk(data_set, little_endian=little_endian)
    try:
        return walk.wanted(implicit=implicit, last=last, wanted=wanted)
    except _Irregular:
        return None


class _Walk:
    """Steps through a data set; of its file a window is in memory."""

    def __init__(self, data_set: BinaryIO | DataSet, *, little_endian: bool) -> None:
        order = "<" if little_endian else ">"
        self._little_endian = little_endian
        self._implicit, self._explicit = Struct(f"{order}HHI"), Struct(f"{order}HH2sH")
        self._long = Struct(f"{order}I")
        self._file, self._first = data_set, data_set.tell()
        self._size = data_set.seek(0, SEEK_END)
        self._window, self._window_at = b"", self._first
        self._steps = 0

    def wanted(self, *, implicit: bool, last: int, wanted: Collection[int]) -> bytes:
        """Return the wanted elements."""
        if implicit and self._is_explicit_at(self._first):
            raise _Irregular
        found, count, place = [], 0, self._first
        while place < self._size:
            element = self._element(place, implicit=implicit)
            if element.tag > last:
                break
            end = self._past_value(element, implicit=implicit, depth=0)
            if element.tag in wanted:
                count += end - place
                if count > MOST_BYTES:
                    raise _Irregular
                found.append(self._at(place, end - place))
            place = end
        return b"".join(found)

    def _element(self, place: int, *, implicit: bool) -> _Element:
        """Read the header of an element."""
        self._steps += 1
        if self._steps > MOST_STEPS:
            raise InstanceRefused("The data set has too many elements before its UIDs.")
        header = self._at(place, _LONGEST_HEADER)
        if len(header) < self._implicit.size:
            raise _Irregular
        group, number, length = self._implicit.unpack_from(header)
        if implicit or group == _DELIMITERS:
            return _Element(group << 16 | number, b"", place + self._implicit.size, length)
        _, _, representation, length = self._explicit.unpack_from(header)
        value = place + self._explicit.size
        if representation in LONG_REPRESENTATIONS:
            if len(header) < _LONGEST_HEADER:
                raise _Irregular
            (length,), value = self._long.unpack_from(header, self._explicit.size), place + _LONGEST_HEADER
        elif representation not in SHORT_REPRESENTATIONS:
            raise _Irregular
        return _Element(group << 16 | number, representation, value, length)

    def _past_value(self, element: _Element, *, implicit: bool, depth: int) -> int:
        """Return where the value of an element ends."""
        if element.tag >> 16 == _DELIMITERS:
            raise _Irregular
        if element.length != _UNDEFINED:
            end = element.value + element.length
            if end > self._size:
                raise _Irregular
            return end
        if element.representation == b"UN" and self._little_endian:  # its items are implicit (PS3.5 6.2.2)
            implicit = True
        elif element.representation not in (b"", b"SQ"):
            raise _Irregular
        return self._past_items(element.value, implicit=implicit, depth=depth + 1)

    def _past_items(self, place: int, *, implicit: bool, depth: int) -> int:
        """Return where a sequence of undefined length ends."""
        if depth > _DEEPEST:
            raise _Irregular
        while True:
            item = self._element(place, implicit=True)
            if item.tag == _END_OF_SEQUENCE and not item.length:
                return item.value
            if item.tag != _ITEM or (implicit and self._is_explicit_at(item.value)):
                raise _Irregular
            if item.length == _UNDEFINED:
                place = self._past_elements(item.value, implicit=implicit, depth=depth)
            else:
                place = item.value + item.length

    def _past_elements(self, place: int, *, implicit: bool, depth: int) -> int:
        """Return where an item of undefined length ends."""
        while True:
            element = self._element(place, implicit=implicit)
            if element.tag == _END_OF_ITEM and not element.length:
                return element.value
            place = self._past_value(element, implicit=implicit, depth=depth)

    def _is_explicit_at(self, place: int) -> bool:
        """Whether an element that should be implicit is explicit all the same, as some senders write them."""
        return self._at(place + 4, 2).isupper()

    def _at(self, place: int, count: int) -> bytes:
        """Return so many bytes from a place; fewer where the file ends."""
        begin = place - self._window_at
        if begin < 0 or begin + count > len(self._window):
            self._file.seek(place, SEEK_SET)
            self._window, self._window_at, begin = self._file.read(max(count, _WINDOW_BYTES)), place, 0
        return self._window[begin : begin + count]
