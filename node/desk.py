"""Where associations are served that bring one small instance after the other: all of them in one thread.

Threads of their own would take turns at the interpreter's lock, and wake one another for every instance. Here whatever came
together is taken in, kept and answered together. Only what needs no waiting is done at the desk; the rest is left to each association's
own thread, which waits meanwhile. Whoever is alone is served by his thread, which is quicker.
"""

import select
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from functools import partial
from time import monotonic
from typing import Generic, Protocol

from node.attempt import attempt
from node.incoming import Brought, Incoming, InstanceStore

IDLE = timedelta(seconds=1)
"""An association that brought nothing small for so long is left to its thread, with whatever it began."""
FEWEST = 2
"""So many associations are served at a desk, or none."""
_LOOK_AROUND_SECONDS = 0.25
_GATHERING_SECONDS = 0.002
"""For so long others may still join those who came first; to keep a few instances takes about as long."""


def _nothing() -> None:
    """There is no rest."""


class Elsewhere(Exception):
    """An association is to go on in its own thread, which calls `rest` first."""

    def __init__(self, rest: Callable[[], None] = _nothing) -> None:
        super().__init__()
        self.rest = rest


class Visitor(Protocol[Incoming]):
    """An association at the desk."""

    def fileno(self) -> int:
        """Return the descriptor of its socket."""

    def next_small(self) -> Brought[Incoming] | None:
        """Take what came, without waiting, and return the next small instance once it is whole.

        Raises:
            Elsewhere: if something else comes.
        """

    def conclude(self, brought: Brought[Incoming], outcome: str | Exception) -> None:
        """Answer for an instance, without waiting.

        Raises:
            Elsewhere: if there is more to do than that.
        """


class _Visit(Generic[Incoming]):
    """A visitor, and what its thread is to do once it is let go."""

    def __init__(self, visitor: Visitor[Incoming]) -> None:
        self.visitor = visitor
        self.descriptor = visitor.fileno()
        self.last = monotonic()
        self.rest: Callable[[], None] = _nothing
        self.over = threading.Lock()
        """Held until it is let go."""
        self.over.acquire()


class Desk(Generic[Incoming]):
    """Serves visitors whose small instances go into one store, until they are `idle` or alone; its thread lives as long as anybody is there."""

    def __init__(self, store: InstanceStore[Incoming], *, idle: timedelta = IDLE) -> None:
        self._store = store
        self._idle_seconds = idle.total_seconds()
        self._lock = threading.Lock()
        self._visits: dict[int, _Visit[Incoming]] = {}
        self._came: dict[int, float] = {}
        """Whose descriptors came lately, and when."""
        self._ready: select.epoll | None = None

    def serve(self, visitor: Visitor[Incoming]) -> None:
        """Serve an association until it wants something else; then do that, in the thread that called.

        Where nobody else came lately, or the system has no thread or descriptor left, nothing happens.

        Raises:
            Exception: what the rest raises, or what went wrong at the desk.
        """
        visit = _Visit(visitor)
        if not self._is_worth_it(visit):
            return
        try:
            self._enter(visit)
        except (OSError, RuntimeError):
            return
        visit.over.acquire()
        visit.rest()

    def _is_worth_it(self, visit: _Visit[Incoming]) -> bool:
        """Return whether enough are there or came lately, and remember who came."""
        with self._lock:
            lately = visit.last - self._idle_seconds
            self._came = {each: at for each, at in self._came.items() if at >= lately}
            self._came[visit.descriptor] = visit.last
            return len(self._came.keys() | self._visits.keys()) >= FEWEST

    def _enter(self, visit: _Visit[Incoming]) -> None:
        with self._lock:
            if self._ready is None:
                ready = select.epoll()
                try:
                    threading.Thread(target=self._work, args=(ready,), name="desk", daemon=True).start()
                except RuntimeError:
                    ready.close()
                    raise
                self._ready = ready
            self._visits[visit.descriptor] = visit
            try:
                self._ready.register(visit.descriptor, select.EPOLLIN)
            except OSError:
                del self._visits[visit.descriptor]
                raise

    def _work(self, ready: select.epoll) -> None:
        """Serve whoever is ready, until nobody is there any more."""
        with ready:
            failure = attempt(partial(self._serve_all, ready))
            if failure is not None:
                self._let_everybody_go(failure)
                raise failure

    def _serve_all(self, ready: select.epoll) -> None:
        looked_around = monotonic()
        while self._somebody_is_there():
            self._keep(self._brought(ready))
            if monotonic() - looked_around >= _LOOK_AROUND_SECONDS:
                looked_around = monotonic()
                self._let_some_go(looked_around - self._idle_seconds)

    def _brought(self, ready: select.epoll) -> Mapping[_Visit[Incoming], Brought[Incoming]]:
        """Wait for somebody, and take what they bring, and what others bring meanwhile: to keep more together costs little more."""
        brought: dict[_Visit[Incoming], Brought[Incoming]] = {}
        events = ready.poll(_LOOK_AROUND_SECONDS)
        until = monotonic() + _GATHERING_SECONDS
        while came := [visit for visit in self._of(events) if visit not in brought]:
            for visit in came:
                if (small := self._taken(visit)) is not None:
                    brought[visit] = small
            others = len(brought) < len(self._visits) and monotonic() < until
            events = ready.poll(0) if others else []
        return brought

    def _of(self, events: Iterable[tuple[int, int]]) -> Iterator[_Visit[Incoming]]:
        return (self._visits[descriptor] for descriptor, _ in events)

    def _somebody_is_there(self) -> bool:
        """Return whether somebody is; if not, who comes next begins with another thread."""
        with self._lock:
            if not self._visits:
                self._ready = None
            return bool(self._visits)

    def _let_some_go(self, since: float) -> None:
        """Let those go who were idle since then, and the others, too, where too few are left."""
        with self._lock:
            visits = list(self._visits.values())
        idle = [visit for visit in visits if visit.last < since]
        for visit in idle if len(visits) - len(idle) >= FEWEST else visits:
            self._let_go(visit)

    def _taken(self, visit: _Visit[Incoming]) -> Brought[Incoming] | None:
        taken = attempt(visit.visitor.next_small)
        if isinstance(taken, Exception):
            self._let_go(visit, taken)
            return None
        return taken

    def _keep(self, brought: Mapping[_Visit[Incoming], Brought[Incoming]]) -> None:
        """Keep what came together, and answer each."""
        if not brought:
            return
        arrivals = [small.arrival for small in brought.values()]
        outcomes = attempt(lambda: self._store.accept(arrivals, now=datetime.now(UTC)))
        if isinstance(outcomes, Exception):
            outcomes = [outcomes] * len(arrivals)
        for (visit, small), outcome in zip(brought.items(), outcomes, strict=True):
            visit.last = monotonic()
            failure = attempt(partial(visit.visitor.conclude, small, outcome))
            if failure is not None:
                self._let_go(visit, failure)

    def _let_go(self, visit: _Visit[Incoming], why: Exception | None = None) -> None:
        """Let a visitor's thread go on: with the rest, or with what went wrong."""
        if isinstance(why, Elsewhere):
            visit.rest = why.rest
        elif why is not None:
            visit.rest = _raising(why)
        with self._lock:
            del self._visits[visit.descriptor]
            if self._ready is not None:
                self._ready.unregister(visit.descriptor)
        visit.over.release()

    def _let_everybody_go(self, why: Exception) -> None:
        """Leave nobody waiting for a desk that does not work any more."""
        with self._lock:
            visits, self._visits, self._ready = self._visits, {}, None
        for visit in visits.values():
            visit.rest = _raising(why)
            visit.over.release()


def _raising(failure: Exception) -> Callable[[], None]:
    def rest() -> None:
        raise failure

    return rest
