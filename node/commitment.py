"""A destination's promise to keep what it was sent (Storage Commitment Push Model, PS3.4 annex J)."""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Self

import structlog
from pydicom.dataset import Dataset
from pydicom.uid import UID
from pynetdicom import evt
from pynetdicom.association import Association
from sqlalchemy.orm import Session

from mammography.ledger.deliveries import (
    commitment_reported,
    deliveries_of,
    postpone,
    request_commitment,
    results_for,
    settle,
    uncommitted,
)
from mammography.ledger.engine import Ledger
from mammography.ledger.tables import DeliveryRow, DeliveryState
from mammography.uid import UidRole, mint
from node.delivery import BACK_OFF, GIVE_UP_AFTER, back_off, clock_from, give_up
from node.operations import Answer, Handler, Operation, understand
from node.parcels import Destination
from node.requestor import Lanes, NoAssociation, NothingAccepted, association, propose

FIRST_PAUSE = timedelta(seconds=30)
"""How long a report is waited for before the same is asked again."""

LONGEST_PAUSE = timedelta(hours=6)
"""A destination that is silent, or refuses to be asked, is asked this often for as long as it takes."""

LINGER = timedelta(seconds=0.5)
"""How long the association is kept open for a destination that reports over it; others open one of their own."""

PUSH_MODEL = UID("1.2.840.10008.1.20.1")
PUSH_MODEL_INSTANCE = UID("1.2.840.10008.1.20.1.1")
"""The Storage Commitment Push Model SOP class and its one well-known instance (PS3.4 J.3.5)."""

REQUEST_STORAGE_COMMITMENT = 1
"""Action Type ID (PS3.4 J.3.2.1)."""

FAILURE_REASONS: Mapping[int, str] = {
    0x0110: "the destination could not process the request (0110H)",
    0x0112: "the destination does not hold the object (0112H)",
    0x0119: "the destination holds the object as another SOP class (0119H)",
    0x0122: "the destination does not support the SOP class (0122H)",
    0x0131: "the destination knows the transaction already (0131H)",
    0x0213: "the destination has no room for the object (0213H)",
}
"""Failure Reason (0008,1197) in words (PS3.3 C.14.1.1)."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitmentReport:
    """What a destination says of one transaction in its N-EVENT-REPORT (PS3.4 J.3.3)."""

    transaction_uid: str
    committed: tuple[str, ...]
    """SOP Instance UIDs that the destination keeps from now on."""
    failed: Mapping[str, str]
    """SOP Instance UIDs that it does not keep, each with the reason in words."""

    @classmethod
    def from_event(cls, event_information: Dataset) -> Self:
        """Return the report that an N-EVENT-REPORT's Event Information holds (PS3.4 table J.3-2).

        Items without a UID are passed over; a report without a Transaction UID has the empty one, which
        names no request of ours.
        """
        return cls(
            transaction_uid=str(event_information.get("TransactionUID") or ""),
            committed=tuple(
                str(item.ReferencedSOPInstanceUID)
                for item in event_information.get("ReferencedSOPSequence") or []
                if item.get("ReferencedSOPInstanceUID")
            ),
            failed={
                str(item.ReferencedSOPInstanceUID): failure_in_words(item.get("FailureReason"))
                for item in event_information.get("FailedSOPSequence") or []
                if item.get("ReferencedSOPInstanceUID")
            },
        )


def takes_reports(on_report: Callable[[CommitmentReport], None]) -> Handler:
    """Return who takes N-EVENT-REPORTs on associations that a destination opens (PS3.4 J.3.3)."""

    def take(operation: Operation) -> Answer:
        on_report(understand(partial(CommitmentReport.from_event, operation.information)))
        return Answer()

    return take


@dataclass(frozen=True, slots=True, kw_only=True)
class _Request:
    """One transaction: what one destination is asked to commit to for one study."""

    transaction_uid: str
    asked_before: bool
    numbers: tuple[int, ...]
    """The deliveries that it is about."""
    references: tuple[tuple[str, str], ...]
    """SOP class and SOP instance UID of each object."""
    sent_at: datetime
    """When the last of them was acknowledged."""

    def action_information(self) -> Dataset:
        """Return what the N-ACTION carries (PS3.4 table J.3-1)."""
        information = Dataset()
        information.TransactionUID = self.transaction_uid
        information.ReferencedSOPSequence = [_reference(*reference) for reference in self.references]
        return information

    def silence(self, destination: Destination) -> str:
        """Return why it has to be asked again, or nothing where it is asked for the first time."""
        if not self.asked_before:
            return ""
        return (
            f"{destination.name} has not reported on the objects that it got at {self.sent_at:%Y-%m-%d %H:%M} "
            "UTC, and is asked again."
        )


class Commitment:
    """Asks destinations to commit to what they were sent, and writes down what they say."""

    def __init__(self, *, ledger: Ledger, calling_ae_title: str, destinations: Sequence[Destination]) -> None:
        self._ledger = ledger
        self._calling_ae_title = calling_ae_title
        self._destinations = tuple(each for each in destinations if each.commitment)
        self._names = frozenset(each.name for each in self._destinations)
        self._lanes = Lanes(len(self._destinations))

    def sweep(self, *, now: datetime) -> int:
        """Start asking for what is not committed, and return how many objects that is; does not wait.

        The requests are in the ledger before the first of them leaves: a destination may report before it has
        answered the request itself.
        """
        count = 0
        for destination in self._destinations:
            if self._lanes.busy(destination.name):
                continue
            with self._ledger.read() as session:
                requests = _requests(session, destination, now)
            if not requests:
                continue
            for request in requests:
                self._remember(request, now=now, reason=request.silence(destination))
            work = partial(self._ask, destination, requests, clock_from(now))
            self._lanes.start(destination.name, work)
            count += sum(len(request.numbers) for request in requests)
        self._lanes.raise_failures()
        return count

    def record(self, report: CommitmentReport, *, now: datetime) -> None:
        """Write down a report, and move its studies on.

        What is committed is done. What is not is sent again, with the pauses of a delivery that failed; a report
        of a transaction that is not ours, or that was reported before, changes nothing.
        """
        with self._ledger.begin() as session:
            studies = commitment_reported(
                session,
                transaction_uid=report.transaction_uid,
                committed=report.committed,
                failed={uid: f"{reason}." for uid, reason in report.failed.items()},
                now=now,
                send_again_at=now + BACK_OFF[0],
            )
            for study_instance_uid in studies:
                if report.failed:
                    _send_again_later(session, study_instance_uid, report.transaction_uid, now)
                settle(session, study_instance_uid, now=now, commitment_destinations=self._names)
        log.info(
            "commitment-reported",
            transaction_uid=report.transaction_uid,
            committed=len(report.committed),
            failed=len(report.failed),
            studies=studies,
        )

    def wait(self) -> None:
        """Return when no destination is being asked."""
        self._lanes.wait()

    def close(self) -> None:
        """Finish asking, and ask no more."""
        self._lanes.close()

    def _ask(
        self, destination: Destination, requests: Sequence[_Request], clock: Callable[[], datetime]
    ) -> None:
        """Send requests over one association, and take reports that come over it."""
        reported = threading.Event()

        def on_report(event: evt.Event) -> tuple[int, None]:
            """Answer an N-EVENT-REPORT; where the ledger fails, pynetdicom answers 0110H for us."""
            self.record(CommitmentReport.from_event(event.event_information), now=clock())
            reported.set()
            return 0x0000, None

        try:
            with association(
                propose(PUSH_MODEL),
                calling_ae_title=self._calling_ae_title,
                called_ae_title=destination.ae_title,
                host=destination.host,
                port=destination.port,
                timeout=destination.timeout,
                handlers=[(evt.EVT_N_EVENT_REPORT, on_report)],
            ) as conversation:
                for request in requests:
                    refusal = _request(conversation, destination, request)
                    if refusal:
                        self._remember(request, now=clock(), reason=refusal)
                if reported.wait(LINGER.total_seconds()):
                    # pynetdicom unpauses the association after it answered a report: not while we release it
                    time.sleep(0.1)
        except NoAssociation as reason:
            self._remember_all(requests, clock(), f"{reason}.")
        except NothingAccepted:
            self._remember_all(
                requests,
                clock(),
                f"{destination.name} offers no Storage Commitment: allow it there, or set "
                "commitment = false for this destination.",
            )

    def _remember_all(self, requests: Sequence[_Request], now: datetime, reason: str) -> None:
        """Write down why none of these requests was taken."""
        for request in requests:
            self._remember(request, now=now, reason=reason)

    def _remember(self, request: _Request, *, now: datetime, reason: str) -> None:
        """Write a request into the ledger, with the reason why it is to be made again where there is one."""
        if reason:
            log.warning("commitment-missing", transaction_uid=request.transaction_uid, reason=reason)
        with self._ledger.begin() as session:
            request_commitment(
                session,
                request.numbers,
                transaction_uid=request.transaction_uid,
                now=now,
                ask_again_at=now + pause_before_asking_again(now - request.sent_at),
                reason=reason,
            )


def pause_before_asking_again(waited: timedelta) -> timedelta:
    """Return how long to wait for a report before asking again: as long as was waited already, within limits."""
    return min(max(waited, FIRST_PAUSE), LONGEST_PAUSE)


def failure_in_words(failure_reason: int | None) -> str:
    """Return what a Failure Reason (0008,1197) says; a code that PS3.3 does not know is named by its number."""
    if failure_reason is None:
        return "the destination gives no reason"
    return FAILURE_REASONS.get(failure_reason, f"the destination gives the reason {failure_reason:04X}H")


def _requests(session: Session, destination: Destination, now: datetime) -> list[_Request]:
    """Return what a destination is to be asked now, one transaction for each study; the old ones as they were."""
    groups: dict[tuple[str, str], list[DeliveryRow]] = {}
    for row in uncommitted(session, destination=destination.name, now=now):
        asked = row.state == DeliveryState.COMMITMENT_REQUESTED
        transaction_uid = (row.transaction_uid or "") if asked else ""
        groups.setdefault((row.study_instance_uid, transaction_uid), []).append(row)
    results = results_for(session, [row for rows in groups.values() for row in rows])
    return [
        _Request(
            transaction_uid=transaction_uid or _mint_transaction(destination, rows),
            asked_before=bool(transaction_uid),
            numbers=tuple(row.number for row in rows),
            references=tuple(
                (results[row.sop_instance_uid].sop_class_uid, row.sop_instance_uid) for row in rows
            ),
            sent_at=max(row.sent_at or now for row in rows),
        )
        for (_, transaction_uid), rows in groups.items()
    ]


def _mint_transaction(destination: Destination, rows: Sequence[DeliveryRow]) -> str:
    """Return the Transaction UID of a new request: another one where any object was sent again since."""
    objects = sorted(f"{row.sop_instance_uid}/{row.attempts}" for row in rows)
    return mint(UidRole.COMMITMENT_TRANSACTION, destination.name, *objects)


def _request(conversation: Association, destination: Destination, request: _Request) -> str:
    """Send one N-ACTION (PS3.4 J.3.2) and return why it was not taken; nothing where it was."""
    if not conversation.is_established:
        return f"{destination.name} ended the association before it was asked to commit."
    try:
        status, _ = conversation.send_n_action(
            request.action_information(),
            REQUEST_STORAGE_COMMITMENT,
            PUSH_MODEL,
            PUSH_MODEL_INSTANCE,
        )
    except RuntimeError:  # the association ended since we looked
        status = Dataset()
    if "Status" not in status:
        conversation.abort()  # pynetdicom may take a moment to notice, and would wait for another answer
        return f"{destination.name} did not answer the request for commitment."
    if status.Status != 0x0000:
        comment = f": {status.ErrorComment}" if status.get("ErrorComment") else ""
        return f"{destination.name} refused the request for commitment with {status.Status:04X}H{comment}."
    return ""


def _send_again_later(session: Session, study_instance_uid: str, transaction_uid: str, now: datetime) -> None:
    """Space out the objects of a study that were not committed, or give them up after days of that."""
    for row in deliveries_of(session, study_instance_uid):
        if row.transaction_uid != transaction_uid or row.state != DeliveryState.PENDING:
            continue
        if now - row.due_since >= GIVE_UP_AFTER:
            give_up(session, study_instance_uid, row.number, now=now, reason=row.reason)
        else:
            until = now + back_off(row.attempts)
            postpone(session, row.number, now=now, until=until, reason=row.reason)


def _reference(sop_class_uid: str, sop_instance_uid: str) -> Dataset:
    """Return one item of the Referenced SOP Sequence (PS3.3 table 10-11)."""
    item = Dataset()
    item.ReferencedSOPClassUID = sop_class_uid
    item.ReferencedSOPInstanceUID = sop_instance_uid
    return item
