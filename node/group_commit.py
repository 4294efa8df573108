"""One slow thing done once for everybody who wants it at the same moment."""

import threading
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

Item = TypeVar("Item")
Outcome = TypeVar("Outcome")


class Abandoned(Exception):
    """The thread that worked for this one failed in an unforeseen way, and left it without an outcome."""


class _Place(Generic[Item, Outcome]):
    """Where one thread waits: for its outcome, or to be the next that works for all."""

    def __init__(self, item: Item) -> None:
        self.item = item
        self.outcome: Outcome | Exception | None = None
        self.called = threading.Lock()
        """Held until this thread is called: cheaper than an event, which makes a lock for each that waits."""
        self.called.acquire()


class GroupCommit(Generic[Item, Outcome]):
    """Lets threads share a piece of work whose price hardly depends on how much it is about.

    `work` is given the items of all who wait, in their order, and returns an outcome for each, or the exception
    that this one shall be raised. While it runs, those who come form the next group.
    """

    def __init__(self, work: Callable[[Sequence[Item]], Sequence[Outcome | Exception]]) -> None:
        self._work = work
        self._lock = threading.Lock()
        self._busy = False
        self._queue: list[_Place[Item, Outcome]] = []

    def submit(self, item: Item) -> Outcome:
        """Have an item worked on together with others, and return its outcome.

        Raises:
            Exception: what `work` returned for it, or Abandoned.
        """
        place = _Place[Item, Outcome](item)
        with self._lock:
            self._queue.append(place)
            if not self._busy:
                self._busy = True
                place.called.release()
        place.called.acquire()
        if place.outcome is None:
            self._work_for_all()
        if isinstance(place.outcome, Exception):
            raise place.outcome
        if place.outcome is None:
            raise Abandoned("The group that it was in was given up.")
        return place.outcome

    def _work_for_all(self) -> None:
        """Work for everybody who waits, then call them and the first of the next group."""
        with self._lock:
            group, self._queue = self._queue, []
        outcomes: Sequence[Outcome | Exception] = [Abandoned("The work for its group failed.")] * len(group)
        try:
            outcomes = self._work([place.item for place in group])
        finally:
            for place, outcome in zip(group, outcomes, strict=True):
                place.outcome = outcome
                place.called.release()
            with self._lock:
                self._busy = bool(self._queue)
                if self._queue:
                    self._queue[0].called.release()
