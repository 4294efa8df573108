"""Our objects on their way to where the radiologist looks: C-STORE, again and again until it is answered."""

import hashlib
import random
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from io import BytesIO
from itertools import groupby
from operator import attrgetter
from pathlib import Path

import structlog
from pydicom import dcmread
from pydicom.uid import UID
from pynetdicom.association import Association
from pynetdicom.status import STORAGE_SERVICE_CLASS_STATUS, code_to_category
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
from mammography.results.options import USUAL, ComposeOptions
from mammography.study import StudyEvent, StudyState
from node.circuit import Circuit
from node.requestor import Lanes, NoAssociation, NothingAccepted, association, propose

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

SOP_CLASS_NOT_SUPPORTED = 0x0122
"""The status that says of a C-STORE what a refused presentation context says (PS3.7 C.4.2)."""

GIVE_UP_AFTER = timedelta(days=3)
"""How long a destination may refuse an object before a person is called: a weekend and a day."""

MOST_AT_ONCE = 1000
"""How many objects one association carries."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Destination:
    """One application entity that our objects go to."""

    name: str
    ae_title: str
    host: str
    port: int
    options: ComposeOptions = USUAL
    """Which kinds of objects it gets, and how they are written."""
    fallback: bool = True
    """Whether it gets the next best object instead of one that it does not accept."""
    commitment: bool
    """Whether it is asked to commit to what it was sent (Storage Commitment, PS3.4 annex J)."""
    timeout: timedelta
    """How long each of its answers is waited for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Parcel:
    """One delivery with what is needed to send it."""

    number: int
    study_instance_uid: str
    sop_instance_uid: str
    sop_class_uid: str
    kind: str
    path: Path
    sha256: str
    attempts: int
    due_since: datetime
    reason: str


@dataclass(frozen=True, slots=True)
class _Outcome:
    """What became of one attempt: sent or not, and the reason where there is something to say."""

    sent: bool
    reason: str = ""
    association_lost: bool = False
    unreached: bool = False
    """Whether it was not even tried, as nobody is there: it stays due."""
    refused: bool = False
    """Whether it will never be sent like this: the destination does not accept the SOP class."""


class Delivery:
    """Sends what the ledger says is due, to each destination over one association and in a thread of its own."""

    def __init__(
        self, *, ledger: Ledger, data_dir: Path, calling_ae_title: str, destinations: Sequence[Destination]
    ) -> None:
        self._ledger = ledger
        self._data_dir = data_dir
        self._calling_ae_title = calling_ae_title
        self._destinations = tuple(destinations)
        self._commitment_names = frozenset(each.name for each in destinations if each.commitment)
        self._lanes = Lanes([each.name for each in destinations])
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
                    destination.name, partial(self._send_all, destination, parcels, clock_from(now))
                )
                count += len(parcels)
        return count

    def wait(self) -> None:
        """Return when nothing is on its way."""
        self._lanes.wait()

    def close(self) -> None:
        """Finish the objects that are on their way, and send no more."""
        self._closing.set()
        self._lanes.close()

    def _due(self, destination: Destination, now: datetime) -> list[_Parcel]:
        """Return what is to be sent to a destination now."""
        with self._ledger.read() as session:
            rows = due(session, destination=destination.name, now=now, limit=MOST_AT_ONCE)
            results = results_for(session, rows)
        return [
            _Parcel(
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

    def _send_all(
        self, destination: Destination, parcels: Sequence[_Parcel], clock: Callable[[], datetime]
    ) -> None:
        """Send parcels over one association, and write down what became of each, study by study.

        When the association is lost, the parcel that was on its way is postponed, and those behind it stay due:
        an object that breaks its destination holds up no other.
        """
        circuit = self._circuits[destination.name]
        answered = lost = False
        try:
            with association(
                propose(*(parcel.sop_class_uid for parcel in parcels)),
                calling_ae_title=self._calling_ae_title,
                called_ae_title=destination.ae_title,
                host=destination.host,
                port=destination.port,
                timeout=destination.timeout,
            ) as conversation:
                for _, group in groupby(parcels, key=_study_of):
                    outcomes = self._send_study(conversation, destination, group)
                    self._record(destination, outcomes, clock())
                    answered |= any(not outcome.association_lost for _, outcome in outcomes)
                    lost |= any(outcome.association_lost for _, outcome in outcomes)
        except NoAssociation as reason:
            pause = circuit.failed(clock())
            log.warning(
                "destination-not-reached",
                destination=destination.name,
                reason=str(reason),
                again_in_seconds=round(pause.total_seconds(), 1),
            )
            outcome = _Outcome(False, f"{reason}.", unreached=True)
            self._record(destination, [(parcel, outcome) for parcel in parcels], clock())
            return
        except NothingAccepted:
            outcomes = [(parcel, _not_accepted(destination, parcel)) for parcel in parcels]
            self._record(destination, outcomes, clock())
        if lost and not answered:
            circuit.failed(clock())
        else:
            circuit.succeeded()

    def _send_study(
        self, conversation: Association, destination: Destination, parcels: Iterable[_Parcel]
    ) -> list[tuple[_Parcel, _Outcome]]:
        """Send the parcels of one study while the association lasts, and return what became of those."""
        outcomes = []
        for parcel in parcels:
            if self._closing.is_set() or not conversation.is_established:
                break
            outcome = _send(conversation, destination, parcel)
            outcomes.append((parcel, outcome))
            if outcome.association_lost:
                conversation.abort()  # pynetdicom may take a moment to notice, and would wait for another answer
        return outcomes

    def _record(
        self, destination: Destination, outcomes: Sequence[tuple[_Parcel, _Outcome]], now: datetime
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
    session: Session, destination: Destination, parcel: _Parcel, outcome: _Outcome, now: datetime
) -> None:
    """Remember one outcome: sent, to be tried again, or given up."""
    facts = {
        "destination": destination.name,
        "study_instance_uid": parcel.study_instance_uid,
        "sop_instance_uid": parcel.sop_instance_uid,
        "kind": parcel.kind,
    }
    if outcome.sent:
        mark_sent(session, parcel.number, now=now, reason=outcome.reason)
        log.info("object-sent", reason=outcome.reason, **facts)
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


def _send(conversation: Association, destination: Destination, parcel: _Parcel) -> _Outcome:
    """Send one parcel and return what the destination says to it."""
    if all(context.abstract_syntax != parcel.sop_class_uid for context in conversation.accepted_contexts):
        return _not_accepted(destination, parcel)
    try:
        content = parcel.path.read_bytes()
    except OSError as fault:
        return _Outcome(False, f"Its file {parcel.path} cannot be read: {fault.strerror}.")
    if hashlib.sha256(content).hexdigest() != parcel.sha256:
        return _Outcome(False, f"Its file {parcel.path} is not what was written: the checksum differs.")
    try:
        status = conversation.send_c_store(dcmread(BytesIO(content)), msg_id=parcel.number % 65535 + 1)
    except RuntimeError:  # the association ended since we looked
        return _unanswered(destination)
    if "Status" not in status:
        return _unanswered(destination)
    return _judge(destination, int(status.Status), str(status.get("ErrorComment") or ""))


def _judge(destination: Destination, status: int, comment: str) -> _Outcome:
    """Return what a C-STORE status means (PS3.4 B.2.3, PS3.7 annex C): a warning says that it was stored."""
    if status == 0x0000:
        return _Outcome(True)
    category = code_to_category(status)
    words = STORAGE_SERVICE_CLASS_STATUS.get(status, (category, ""))[1]
    said = ": ".join(part for part in (words, comment) if part)
    reason = f"{destination.name} answered {status:04X}H ({category}{f', {said}' if said else ''})."
    return _Outcome(category == "Warning", reason, refused=status == SOP_CLASS_NOT_SUPPORTED)


def _unanswered(destination: Destination) -> _Outcome:
    """Return the outcome of an object whose C-STORE had no answer."""
    seconds = destination.timeout.total_seconds()
    return _Outcome(
        sent=False,
        reason=f"{destination.name} ended the association or did not answer the C-STORE in {seconds:g} s.",
        association_lost=True,
    )


def _not_accepted(destination: Destination, parcel: _Parcel) -> _Outcome:
    """Return the outcome of an object whose SOP class the destination does not take."""
    return _Outcome(
        False,
        f"{destination.name} does not accept {UID(parcel.sop_class_uid).name}: allow it there, or take "
        f'"{parcel.kind}" out of the objects of this destination.',
        refused=True,
    )
