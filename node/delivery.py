"""Our objects on their way to where the radiologist looks: C-STORE or STOW-RS, until each is answered."""

import random
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from datetime import datetime, timedelta
from functools import partial
from itertools import groupby
from operator import attrgetter
from pathlib import Path

import structlog
from sqlalchemy.orm import Session

from mammography.ledger.deliveries import (
    due,
    explain,
    mark_failed,
    mark_refused,
    mark_sent,
    postpone,
    results_for,
    settle,
)
from mammography.ledger.engine import Ledger
from mammography.ledger.studies import advance, lock_study
from mammography.results.composed import Kind
from mammography.study import StudyEvent, StudyState
from node.c_store import c_store
from node.circuit import Circuit
from node.parcels import Destination, Outcome, Parcel, Way, not_accepted
from node.requestor import Lanes, NoAssociation, NothingAccepted
from node.stow import NotReached, stow

BACK_OFF = (
    timedelta(seconds=1),
    timedelta(seconds=5),
    timedelta(seconds=30),
    timedelta(minutes=2),
    timedelta(minutes=10),
    timedelta(hours=1),
)
"""The pauses after the first attempts of a delivery; the last one is kept from then on."""

NEXT_BEST: Mapping[str, Kind] = {"cad-sr": "tid1500", "gsps": "picture", "tid1500": "picture"}
"""What goes instead of an object whose SOP class is not accepted: more programs know each than the one before."""

GIVE_UP_AFTER = timedelta(days=3)
"""How long a destination may refuse an object before a person is called: a weekend and a day."""

MOST_AT_ONCE = 1000
"""How many objects one association or connection carries."""

log = structlog.get_logger()


class Delivery:
    """Sends what the ledger says is due, to each destination over one connection and in a thread of its own."""

    def __init__(
        self, *, ledger: Ledger, data_dir: Path, calling_ae_title: str, destinations: Sequence[Destination]
    ) -> None:
        self._ledger = ledger
        self._data_dir = data_dir
        self._calling_ae_title = calling_ae_title
        self._destinations = tuple(destinations)
        self._commitment_names = frozenset(each.name for each in destinations if each.commitment)
        self._lanes = Lanes(len(destinations))
        self._circuits = {each.name: Circuit() for each in destinations}
        self._closing = threading.Event()

    def sweep(self, *, now: datetime) -> int:
        """Start sending what is due at `now`, and return how many objects that is; does not wait for them.

        A destination whose last objects are still on their way is left alone, and for a while one that is away.
        """
        count = 0
        for destination in self._destinations:
            if self._lanes.busy(destination.name) or not self._circuits[destination.name].closed(now):
                continue
            parcels = self._due(destination, now)
            if parcels:
                self._lanes.start(
                    destination.name, partial(self._send_due, destination, parcels, clock_from(now))
                )
                count += len(parcels)
        self._lanes.raise_failures()
        return count

    def wait(self) -> None:
        """Return when nothing is on its way."""
        self._lanes.wait()

    def close(self) -> None:
        """Finish the objects that are on their way, and send no more."""
        self._closing.set()
        self._lanes.close()

    def _due(self, destination: Destination, now: datetime) -> list[Parcel]:
        """Return what is to be sent to a destination now."""
        with self._ledger.read() as session:
            rows = due(session, destination=destination.name, now=now, limit=MOST_AT_ONCE)
            results = results_for(session, rows)
        return [
            Parcel(
                number=row.number,
                study_instance_uid=row.study_instance_uid,
                sop_instance_uid=row.sop_instance_uid,
                sop_class_uid=results[row.sop_instance_uid].sop_class_uid,
                kind=results[row.sop_instance_uid].kind,
                path=self._data_dir / results[row.sop_instance_uid].path,
                sha256=results[row.sop_instance_uid].sha256,
                attempts=row.attempts,
                due_since=row.due_since,
                reason=row.reason,
            )
            for row in rows
        ]

    def _send_due(
        self, destination: Destination, parcels: Sequence[Parcel], clock: Callable[[], datetime]
    ) -> None:
        """Send parcels; where that ends as nobody foresaw, leave their destination alone for a while, too.

        What became of some of them is not in the ledger then, and these are still due.
        """
        with ExitStack() as unforeseen:
            unforeseen.callback(lambda: self._circuits[destination.name].failed(clock()))
            self._send_all(destination, parcels, clock)
            unforeseen.pop_all()

    def _send_all(
        self, destination: Destination, parcels: Sequence[Parcel], clock: Callable[[], datetime]
    ) -> None:
        """Send parcels on one way, and write down what became of each, study by study.

        When the way is lost, the parcel that was on its way is postponed, and those behind it stay due:
        an object that breaks its destination holds up no other.
        """
        circuit = self._circuits[destination.name]
        answered = lost = False
        try:
            with self._way_to(destination, parcels) as way:
                for _, group in groupby(parcels, key=_study_of):
                    outcomes = self._send_study(way, group)
                    self._record(destination, outcomes, clock())
                    answered |= any(not outcome.lost for _, outcome in outcomes)
                    lost |= any(outcome.lost for _, outcome in outcomes)
        except (NoAssociation, NotReached) as reason:
            outcome = Outcome(False, f"{reason}.", unreached=True)
            self._record(destination, [(parcel, outcome) for parcel in parcels], clock())
            pause = circuit.failed(clock())
            log.warning(
                "destination-not-reached",
                destination=destination.name,
                reason=str(reason),
                again_in_seconds=round(pause.total_seconds(), 1),
            )
            return
        except NothingAccepted:
            outcomes = [(parcel, not_accepted(destination, parcel)) for parcel in parcels]
            self._record(destination, outcomes, clock())
        if lost and not answered:
            circuit.failed(clock())
        else:
            circuit.succeeded()

    def _way_to(self, destination: Destination, parcels: Sequence[Parcel]) -> AbstractContextManager[Way]:
        """Return the way on which a destination takes objects: STOW-RS, or an association for C-STORE."""
        if destination.web is not None:
            return stow(destination, destination.web)
        sop_class_uids = [parcel.sop_class_uid for parcel in parcels]
        return c_store(destination, sop_class_uids, calling_ae_title=self._calling_ae_title)

    def _send_study(self, way: Way, parcels: Iterable[Parcel]) -> list[tuple[Parcel, Outcome]]:
        """Send the parcels of one study while the way is open, and return what became of those."""
        outcomes = []
        for parcel in parcels:
            if self._closing.is_set() or not way.is_open:
                break
            outcomes.append((parcel, way.send(parcel)))
        return outcomes

    def _record(
        self, destination: Destination, outcomes: Sequence[tuple[Parcel, Outcome]], now: datetime
    ) -> None:
        """Write down what became of parcels, and move their studies on; one transaction for each study."""
        in_order = sorted(outcomes, key=lambda pair: _study_of(pair[0]))
        for study_instance_uid, group in groupby(in_order, key=lambda pair: _study_of(pair[0])):
            with self._ledger.begin() as session:
                for parcel, outcome in group:
                    _write_down(session, destination, parcel, outcome, now)
                settle(session, study_instance_uid, now=now, commitment_destinations=self._commitment_names)


_study_of = attrgetter("study_instance_uid")


def clock_from(now: datetime) -> Callable[[], datetime]:
    """Return a clock that shows `now` at this moment and goes on from there, whatever the system's does."""
    started = time.monotonic()
    return lambda: now + timedelta(seconds=time.monotonic() - started)


def back_off(attempts: int) -> timedelta:
    """Return how long to wait after one more failed attempt than `attempts`, give or take a fifth.

    The random part keeps the objects that failed together from coming back together.
    """
    return BACK_OFF[min(attempts, len(BACK_OFF) - 1)] * random.uniform(0.8, 1.2)


def give_up(session: Session, study_instance_uid: str, number: int, *, now: datetime, reason: str) -> None:
    """Give one delivery up, and let its study wait for a person where it waited for this delivery."""
    log.error("delivery-given-up", study_instance_uid=study_instance_uid, delivery=number)
    mark_failed(session, number, now=now, reason=reason)
    state = lock_study(session, study_instance_uid).state
    if state in (StudyState.REPORTED, StudyState.DELIVERED):
        advance(
            session,
            study_instance_uid,
            seen=state,
            event=StudyEvent.GAVE_UP,
            now=now,
            reason=f"{reason} That went on for {GIVE_UP_AFTER.days} days. Make the destination take it, then run: "
            f"mammocalc study retry {study_instance_uid}",
        )


def _write_down(
    session: Session, destination: Destination, parcel: Parcel, outcome: Outcome, now: datetime
) -> None:
    """Remember one outcome: sent, to be tried again, or given up."""
    facts = {
        "destination": destination.name,
        "study_instance_uid": parcel.study_instance_uid,
        "sop_instance_uid": parcel.sop_instance_uid,
        "kind": parcel.kind,
    }
    if outcome.sent:
        mark_sent(session, parcel.number, now=now, warning=outcome.reason)
        log.info("object-sent", warning=outcome.reason, **facts)
    elif outcome.refused and destination.fallback and parcel.kind in NEXT_BEST:
        mark_refused(session, parcel.number, reason=outcome.reason)
        log.warning("object-refused", reason=outcome.reason, **facts)
    elif now - parcel.due_since >= GIVE_UP_AFTER:
        give_up(session, parcel.study_instance_uid, parcel.number, now=now, reason=outcome.reason)
    elif outcome.unreached:
        if parcel.reason != outcome.reason:
            explain(session, parcel.number, reason=outcome.reason)
    else:
        until = now + back_off(parcel.attempts)
        postpone(session, parcel.number, now=now, until=until, reason=outcome.reason)
        log.warning("object-postponed", until=until.isoformat(), reason=outcome.reason, **facts)
