"""Our own promise to keep what we were sent (Storage Commitment Push Model as SCP, PS3.4 annex J).

The promise is as long as the retention of the node: it is no archive.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path

import structlog
from pydicom.dataset import Dataset
from pydicom.uid import UID
from pynetdicom import build_role
from pynetdicom.association import Association

from mammography.ledger.commitment_requests import (
    commitment_request_told,
    commitment_request_untold,
    due_commitment_requests,
    held,
    record_commitment_request,
    senders_due,
)
from mammography.ledger.engine import Ledger
from mammography.ledger.signals import SignalSource, record_signal
from mammography.ledger.tables import CommitmentRequestRow, InstanceRow
from mammography.uid import lawful
from node.commitment import PUSH_MODEL, PUSH_MODEL_INSTANCE, REQUEST_STORAGE_COMMITMENT
from node.delivery import GIVE_UP_AFTER, back_off, clock_from
from node.dimse_status import INVALID_ARGUMENT_VALUE, NO_SUCH_ACTION, NO_SUCH_SOP_INSTANCE
from node.operations import Answer, Operation, OperationRefused, OutgoingEvent, understand
from node.part10 import holds
from node.report_addresses import ReportAddress
from node.requestor import Lanes, NoAssociation, NothingAccepted, association, propose

ALL_COMMITTED, SOME_FAILED = 1, 2
"""Event Type IDs (PS3.4 J.3.3.1)."""

PROCESSING_FAILURE = 0x0110
NO_SUCH_OBJECT_INSTANCE = 0x0112
CLASS_INSTANCE_CONFLICT = 0x0119
"""Failure Reasons (0008,1197), PS3.3 C.14.1.1."""

MOST_AT_ONCE = 16
"""Senders that are told at the same time: each may be slow, or away."""

TIMEOUT = timedelta(seconds=30)
"""How long a sender may take for each answer to us."""

Reference = tuple[str, str]
"""SOP class and SOP instance UID."""

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitmentVerdict:
    """What we say of one request: which instances we keep, and which we do not."""

    transaction_uid: str
    committed: tuple[Reference, ...]
    failed: tuple[tuple[Reference, int], ...]
    """Each with its Failure Reason."""

    @property
    def event_type_id(self) -> int:
        """The Event Type ID of its report."""
        return SOME_FAILED if self.failed else ALL_COMMITTED

    @property
    def in_words(self) -> str:
        """What it says, for the ledger."""
        return f"{len(self.committed)} committed, {len(self.failed)} not"

    def event_information(self) -> Dataset:
        """Return what its report holds (PS3.4 table J.3-2)."""
        information = Dataset()
        information.TransactionUID = self.transaction_uid
        if self.committed:
            information.ReferencedSOPSequence = [_item(reference) for reference in self.committed]
        if self.failed:
            information.FailedSOPSequence = [_item(reference) for reference, _ in self.failed]
            for item, (_, reason) in zip(information.FailedSOPSequence, self.failed, strict=True):
                item.FailureReason = reason
        return information


def judge_commitment(
    transaction_uid: str, references: Sequence[Reference], rows: Mapping[str, InstanceRow], data_dir: Path
) -> CommitmentVerdict:
    """Return what we can promise of these instances: those whose row and whole file are here.

    `rows` are what the ledger holds of them, by SOP Instance UID.
    """
    committed, failed = [], []
    for reference in references:
        reason = _failure_reason(reference, rows.get(reference[1]), data_dir)
        if reason:
            failed.append((reference, reason))
        else:
            committed.append(reference)
    return CommitmentVerdict(
        transaction_uid=transaction_uid, committed=tuple(committed), failed=tuple(failed)
    )


class CommitmentProvider:
    """Takes requests for commitment, and reports on them.

    `report_to` says where a sender takes reports, by its AE title and address: there they are brought on an association of our own,
    again and again until one is taken. Where it says None, a sender gets its report on the association on which it asked, once.
    `on_listed` is called for each study of which a request lists instances that are all here.
    """

    def __init__(
        self,
        *,
        ledger: Ledger,
        data_dir: Path,
        ae_title: str,
        report_to: Callable[[str, str], ReportAddress | None],
        on_listed: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._ledger, self._data_dir, self._ae_title = ledger, data_dir, ae_title
        self._report_to = report_to
        self._on_listed = on_listed
        self._lanes = Lanes(MOST_AT_ONCE)

    def request(self, operation: Operation, *, now: datetime) -> Answer:
        """Take an N-ACTION in (PS3.4 J.3.2): it is in the ledger before it is answered."""
        if operation.type_id != REQUEST_STORAGE_COMMITMENT:
            raise OperationRefused(NO_SUCH_ACTION, "The action of this SOP class has the type 1.")
        if operation.sop_instance_uid != PUSH_MODEL_INSTANCE:
            raise OperationRefused(
                NO_SUCH_SOP_INSTANCE,
                "Storage Commitment has one well-known instance: 1.2.840.10008.1.20.1.1.",
            )
        transaction_uid, references = understand(partial(_asked, operation.information))
        sender = operation.call.calling_ae_title
        elsewhere = self._report_to(sender, operation.call.address) is not None
        with self._ledger.begin() as session:
            record_commitment_request(
                session,
                transaction_uid,
                sender,
                address=operation.call.address,
                references=references,
                now=now,
                report_at=now if elsewhere else None,
            )
            rows = held(session, [instance for _, instance in references])
            verdict = judge_commitment(transaction_uid, references, rows, self._data_dir)
            listed = {} if verdict.failed else _by_study(rows.values())
            for study_instance_uid, instances in listed.items():
                record_signal(
                    session,
                    SignalSource.STORAGE_COMMITMENT,
                    transaction_uid,
                    study_instance_uid,
                    instances=instances,
                    finished=True,
                    now=now,
                )
        _log.info("commitment-asked", transaction_uid=transaction_uid, verdict=verdict.in_words)
        for study_instance_uid in sorted(listed):
            self._on_listed(study_instance_uid)
        if elsewhere:
            return Answer()
        heard = partial(self._heard, verdict, sender, clock_from(now))
        return Answer(
            event=OutgoingEvent(
                type_id=verdict.event_type_id, information=verdict.event_information(), on_answer=heard
            )
        )

    def sweep(self, *, now: datetime) -> int:
        """Start reporting what is due, and return how many reports that is; does not wait."""
        with self._ledger.read() as session:
            senders = senders_due(session, now=now)
        count = sum(self._start(sender, now) for sender in senders if not self._lanes.busy(sender))
        self._lanes.raise_failures()
        return count

    def _start(self, sender: str, now: datetime) -> int:
        """Start reporting to one sender what is due at the place of its oldest request."""
        with self._ledger.read() as session:
            due = due_commitment_requests(session, sender, now=now)
        places = [self._place_of(row) for row in due]
        nowhere = [row for row, place in zip(due, places, strict=True) if place is None]
        self._put_off(
            nowhere, clock_from(now), f"{sender} has no commitment_port any more: list it under [[callers]]."
        )
        known = [place for place in places if place is not None]
        if not known:
            return 0
        together = [row for row, place in zip(due, places, strict=True) if place == known[0]]
        self._lanes.start(sender, partial(self._report, sender, *known[0], together, clock_from(now)))
        return len(together)

    def _place_of(self, row: CommitmentRequestRow) -> tuple[str, int] | None:
        """Return host and port where the report on a request is taken."""
        address = self._report_to(row.calling_ae_title, row.address)
        return None if address is None else (address.host or row.address, address.port)

    def wait(self) -> None:
        """Return when nothing is being reported."""
        self._lanes.wait()

    def close(self) -> None:
        """Finish reporting, and report no more."""
        self._lanes.close()

    def _report(
        self,
        sender: str,
        host: str,
        port: int,
        due: Sequence[CommitmentRequestRow],
        clock: Callable[[], datetime],
    ) -> None:
        """Bring reports to a sender, over one association."""
        waiting = list(due)
        try:
            with association(
                propose(PUSH_MODEL),
                calling_ae_title=self._ae_title,
                called_ae_title=sender,
                host=host,
                port=port,
                timeout=TIMEOUT,
                roles=[build_role(PUSH_MODEL, scp_role=True)],
            ) as conversation:
                while waiting:
                    self._tell(conversation, waiting[0], clock)
                    del waiting[0]
        except NoAssociation as reason:
            self._put_off(waiting, clock, f"{reason}.")
        except NothingAccepted:
            self._put_off(waiting, clock, f"{sender} takes no reports of Storage Commitment: allow it there.")

    def _tell(
        self, conversation: Association, row: CommitmentRequestRow, clock: Callable[[], datetime]
    ) -> None:
        references = [(sop_class, instance) for sop_class, instance in row.references]
        with self._ledger.begin() as session:  # not read: what is promised has to be on the disk
            rows = held(session, [instance for _, instance in references])
        verdict = judge_commitment(row.transaction_uid, references, rows, self._data_dir)
        refusal = _send(conversation, verdict)
        if refusal:
            self._put_off([row], clock, f"{row.calling_ae_title} {refusal}.")
            return
        _log.info("commitment-told", transaction_uid=row.transaction_uid, verdict=verdict.in_words)
        with self._ledger.begin() as session:
            commitment_request_told(
                session, row.transaction_uid, row.calling_ae_title, now=clock(), reason=verdict.in_words
            )

    def _put_off(
        self, rows: Sequence[CommitmentRequestRow], clock: Callable[[], datetime], reason: str
    ) -> None:
        """Remember why reports were not taken; they come again, for days."""
        now = clock()
        for row in rows:
            again = now - row.requested_at < GIVE_UP_AFTER
            _log.warning("commitment-untold", transaction_uid=row.transaction_uid, reason=reason, again=again)
            with self._ledger.begin() as session:
                commitment_request_untold(
                    session,
                    row.transaction_uid,
                    row.calling_ae_title,
                    again_at=now + back_off(row.attempts) if again else None,
                    reason=reason,
                )

    def _heard(
        self, verdict: CommitmentVerdict, sender: str, clock: Callable[[], datetime], status: int
    ) -> None:
        """Write down how a sender answered the report on its own association."""
        with self._ledger.begin() as session:
            if status == 0:
                commitment_request_told(
                    session, verdict.transaction_uid, sender, now=clock(), reason=verdict.in_words
                )
            else:
                reason = f"{sender} answered the report with {status:04X}H."
                commitment_request_untold(
                    session, verdict.transaction_uid, sender, again_at=None, reason=reason
                )


def _asked(information: Dataset) -> tuple[str, list[Reference]]:
    """Return the transaction and the references of a request (PS3.4 table J.3-1)."""
    transaction_uid = str(information.TransactionUID)
    references = [
        (str(item.ReferencedSOPClassUID), str(item.ReferencedSOPInstanceUID))
        for item in information.ReferencedSOPSequence
    ]
    if not lawful(transaction_uid):
        raise OperationRefused(INVALID_ARGUMENT_VALUE, "The Transaction UID is not lawful.")
    if not references or not all(lawful(uid) for reference in references for uid in reference):
        raise OperationRefused(INVALID_ARGUMENT_VALUE, "The Referenced SOP Sequence is empty or not lawful.")
    return transaction_uid, references


def _failure_reason(reference: Reference, row: InstanceRow | None, data_dir: Path) -> int:
    """Return why we do not keep an instance; 0 where we do."""
    if row is None or row.deleted_at is not None:
        return NO_SUCH_OBJECT_INSTANCE
    if row.sop_class_uid != reference[0]:
        return CLASS_INSTANCE_CONFLICT
    return 0 if holds(data_dir / row.path, row.bytes) else PROCESSING_FAILURE


def _by_study(rows: Iterable[InstanceRow]) -> dict[str, set[str]]:
    studies: dict[str, set[str]] = {}
    for row in rows:
        studies.setdefault(row.study_instance_uid, set()).add(row.sop_instance_uid)
    return studies


def _send(conversation: Association, verdict: CommitmentVerdict) -> str:
    """Send one N-EVENT-REPORT (PS3.4 J.3.3), and return why it was not taken; nothing where it was."""
    if not conversation.is_established:
        return "ended the association before it took the report"
    try:
        status, _ = conversation.send_n_event_report(
            verdict.event_information(), verdict.event_type_id, PUSH_MODEL, PUSH_MODEL_INSTANCE
        )
    except RuntimeError:  # the association ended since we looked
        return "ended the association before it took the report"
    if "Status" not in status:
        return "did not answer the report"
    return "" if status.Status == 0 else f"answered the report with {status.Status:04X}H"


def _item(reference: Reference) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = UID(reference[0]), UID(reference[1])
    return item
