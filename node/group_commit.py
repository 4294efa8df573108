"""One slow thing done once for everybody who wants it at the same moment."""

import threading
from collections.abc import Callable, Sequence
from itertools import islice
from typing import Generic, TypeVar

Item = TypeVar("Item")
Outcome = TypeVar("Outcome")


class Abandoned(Exception):
    """The thread that worked for this one failed in an unforeseen way, and left it without an outcome."""


class _Place(Generic[Item, Outcome]):
    """Where one thread waits: for its outcomes, or to be the next that works for all."""

    def __init__(self, items: Sequence[Item]) -> None:
        self.items = items
        self.outcomes: Sequence[Outcome | Exception] = ()
        self.called = threading.Lock()
        """Held until this thread is called: cheaper than an event, which makes a lock for each that waits."""
        self.called.acquire()


class GroupCommit(Generic[Item, Outcome]):
    """Lets threads share a piece of work whose price hardly depends on how much it is about.

    `work` is given the items of all who wait, in their order, and returns an outcome for each, which may be an
    exception. While it runs, those who come form the next group.
    """

    def __init__(self, work: Callable[[Sequence[Item]], Sequence[Outcome | Exception]]) -> None:
        self._work = work
        self._lock = threading.Lock()
        self._busy = False
        self._queue: list[_Place[Item, Outcome]] = []

    def submit(self, items: Sequence[Item]) -> Sequence[Outcome | Exception]:
        """Have items worked on together with those of others, and return an outcome for each: that of `work`, or Abandoned."""
        if not items:
            return ()
        place = _Place[Item, Outcome](items)
        with self._lock:
            self._queue.append(place)
            waits, self._busy = self._busy, True
        if waits:
            place.called.acquire()
        if not place.outcomes:
            self._work_for_all()
        return place.outcomes

    def _work_for_all(self) -> None:
        """Work for everybody who waits, then call them and the first of the next group."""
        with self._lock:
            group, self._queue = self._queue, []
        items = [item for place in group for item in place.items]
        outcomes: Sequence[Outcome | Exception] = [Abandoned("The work for its group failed.")] * len(items)
        try:
            outcomes = self._work(items)
        finally:
            left = iter(outcomes)
            for place in group:
                place.outcomes = list(islice(left, len(place.items)))
                place.called.release()
            with self._lock:
                self._busy = bool(self._queue)
                if self._queue:
                    self._queue[0].called.release()
