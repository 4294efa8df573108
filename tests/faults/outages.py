"""What happens to a site: kills, and neighbours that are away, slow, full or wrong for a while."""

import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from sqlalchemy.exc import DBAPIError

from mammography.ledger.studies import in_state
from mammography.study import StudyState
from tests.faults.moody_archive import Mood
from tests.faults.site import Site
from tests.journeys.running_node import ROLES

WHO_HOLDS = {
    StudyState.RECEIVING: "receive",
    StudyState.QUEUED: "dispatch",
    StudyState.READING: "work",
    StudyState.READ: "dispatch",
    StudyState.REPORTED: "deliver",
    StudyState.DELIVERED: "deliver",
}
"""The role that is at work on a study in each state that is not its last."""


@dataclass
class Trouble:
    """Makes trouble at a site from two threads, kills and outages, until `most` have happened; counts each."""

    site: Site
    seed: int
    most: int
    kill_pause: tuple[float, float] = (2.0, 6.0)
    outage_pause: tuple[float, float] = (1.0, 5.0)
    happened: Counter[str] = field(default_factory=Counter)
    faults: list[BaseException] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _threads: list[threading.Thread] = field(default_factory=list)

    @property
    def total(self) -> int:
        """How much has happened so far."""
        with self._lock:
            return self.happened.total()

    def start(self) -> None:
        """Begin."""
        for work in (self._kill_on, self._disturb_on):
            thread = threading.Thread(target=self._guarded, args=(work,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def join(self) -> None:
        """Return when it is over and everything is whole again."""
        for thread in self._threads:
            thread.join()
        if self.faults:
            raise self.faults[0]

    def _guarded(self, work: Callable[[random.Random], None]) -> None:
        try:
            work(random.Random(f"{self.seed}/{work.__name__}"))
        except BaseException as fault:
            self.faults.append(fault)
            raise

    def _count(self, what: str) -> None:
        with self._lock:
            self.happened[what] += 1

    def _kill_on(self, chance: random.Random) -> None:
        """Kill a role, whatever it does; the role that holds a study in some state; a whole node."""
        while self.total < self.most and not self.faults:
            time.sleep(chance.uniform(*self.kill_pause))
            node = chance.choice(self.site.nodes)
            what = chance.choices(("role", "state", "node"), (6, 5, 1))[0]
            if what == "node":
                node.process.kill()
                self._count("kill -9 of a whole node")
            elif what == "role":
                self._kill(node, role := chance.choice(ROLES), f"kill -9 of {role}")
            else:
                state = chance.choice(list(WHO_HOLDS))
                if self._seen(state):
                    self._kill(node, WHO_HOLDS[state], f"kill -9 over a study that is {state}")

    def _kill(self, node, role: str, what: str) -> None:
        """Kill one role of a node, where it runs at the moment."""
        with suppress(KeyError, ProcessLookupError):
            os.kill(node.pids()[role], signal.SIGKILL)
            self._count(what)

    def _seen(self, state: StudyState) -> bool:
        """Wait a while for a study in a state; return whether one was seen."""
        end = time.monotonic() + 5
        while time.monotonic() < end:
            with suppress(DBAPIError), self.site.ledger.read() as session:
                if in_state(session, state, limit=1):
                    return True
            time.sleep(0.02)
        return False

    def _disturb_on(self, chance: random.Random) -> None:
        """Let one neighbour after the other be away or wrong for a few seconds."""
        while self.total < self.most and not self.faults:
            time.sleep(chance.uniform(*self.outage_pause))
            outage = chance.choices(_OUTAGES, [weight for weight, *_ in _OUTAGES])[0]
            _, what, possible, begin = outage
            if not possible(self.site):
                continue
            with begin(self.site, chance):
                self._count(what)
                time.sleep(chance.uniform(2.0, 8.0))


@contextmanager
def _pacs_down(site: Site, _: random.Random) -> Iterator[None]:
    site.kill_orthanc()
    yield
    site.start_orthanc()


@contextmanager
def _pacs_stopped(site: Site, _: random.Random) -> Iterator[None]:
    pid = int((site.orthanc.folder / "pid").read_text())
    os.kill(pid, signal.SIGSTOP)
    yield
    os.kill(pid, signal.SIGCONT)


@contextmanager
def _wire(site: Site, chance: random.Random, what: str) -> Iterator[None]:
    if what == "cut":
        site.wire.cut_soon(chance)
    else:
        setattr(site.wire, what, True)
    yield
    site.wire.heal()


@contextmanager
def _mood(site: Site, mood: Mood) -> Iterator[None]:
    site.archive.mood = mood
    yield
    site.archive.mood = Mood.WELL


@contextmanager
def _redis_away(site: Site, _: random.Random) -> Iterator[None]:
    site.redis.kill()
    yield
    site.redis.start()


@contextmanager
def _redis_flushed(site: Site, _: random.Random) -> Iterator[None]:
    site.redis.flush()
    yield


@contextmanager
def _postgres_away(site: Site, _: random.Random) -> Iterator[None]:
    site.postgres.crash()
    yield
    site.postgres.start()


@contextmanager
def _disk_full(site: Site, chance: random.Random) -> Iterator[None]:
    filler = site.fill_disk(leave_bytes=chance.choice((500 << 20, 0)))
    yield
    filler.unlink()


@contextmanager
def _clock_set(site: Site, chance: random.Random) -> Iterator[None]:
    site.set_clock(chance.choice((-1, 1)) * chance.choice((90, 3_600, 20 * 3_600)))
    yield
    site.set_clock(0)


def _always(_: Site) -> bool:
    return True


_OUTAGES = [
    (3, "the PACS killed", _always, _pacs_down),
    (2, "the PACS stands still", _always, _pacs_stopped),
    *(
        (
            1,
            f"the network to the PACS {word}",
            _always,
            lambda site, chance, what=what: _wire(site, chance, what),
        )
        for what, word in {
            "cut": "cut in the middle",
            "refuses": "refuses",
            "slow": "slow",
            "silent": "silent",
        }.items()
    ),
    *(
        (1, f"the archive {mood}", _always, lambda site, _, mood=mood: _mood(site, mood))
        for mood in Mood
        if mood is not Mood.WELL
    ),
    (2, "Redis killed, and empty afterwards", _always, _redis_away),
    (1, "Redis flushed", _always, _redis_flushed),
    (3, "PostgreSQL crashed", _always, _postgres_away),
    (2, "the disk full", lambda site: site.small_disk, _disk_full),
    (2, "the clock wrong", lambda site: site.clock_can_be_set, _clock_set),
]
"""How often, what it is called, where it is possible, and what begins and ends it."""
