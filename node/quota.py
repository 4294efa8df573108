"""What one caller may have of us at the same time, so that it leaves something for others."""

import mmap
from collections.abc import Hashable


class Quota:
    """Places, and the bytes in flight of each; processes that are forked afterwards share them.

    `places` are those of all callers, `places_of_one` those of one, `bytes_of_one` is what may have arrived from one caller and
    not be answered yet. Places are taken and given back by one thread at a time, in the process that made this; each place's bytes
    are counted by whoever holds its conversation, wherever that is.
    """

    def __init__(self, *, places: int, places_of_one: int, bytes_of_one: int) -> None:
        self._places_of_one, self._bytes_of_one = places_of_one, bytes_of_one
        self._holders: list[Hashable | None] = [None] * places
        self._groups = memoryview(mmap.mmap(-1, 8 * places)).cast("q")
        """Of each place a number that all places of its caller have."""
        self._bytes = memoryview(mmap.mmap(-1, 8 * places)).cast("q")

    def enter(self, caller: Hashable) -> int | None:
        """Take a place, and return its number; None where all are taken, or all that a caller may have."""
        own = [place for place, holder in enumerate(self._holders) if holder == caller]
        if None not in self._holders or len(own) >= self._places_of_one:
            return None
        place = self._holders.index(None)
        self._holders[place] = caller
        self._groups[place] = self._groups[own[0]] if own else self._unused_group()
        self._bytes[place] = 0
        return place

    def leave(self, place: int) -> None:
        """Give a place back."""
        self._holders[place] = None
        self._bytes[place] = 0

    def take(self, place: int, count: int) -> bool:
        """Count bytes that arrived and are not answered for; return whether its caller may have so many.

        A place that has no more than its even share is not asked what the others have.
        """
        self._bytes[place] += count
        if self._bytes[place] <= self._bytes_of_one // self._places_of_one:
            return True
        group = self._groups[place]
        return self._bytes_of_one >= sum(
            count for mine, count in zip(self._groups, self._bytes, strict=True) if mine == group
        )

    def give_back(self, place: int, count: int) -> None:
        """Count bytes no more that were answered for."""
        self._bytes[place] -= count

    def _unused_group(self) -> int:
        taken = {
            group for holder, group in zip(self._holders, self._groups, strict=True) if holder is not None
        }
        return next(number for number in range(len(self._holders) + 1) if number not in taken)
