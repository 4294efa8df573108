"""What senders asked us to commit to, in the ledger (Storage Commitment Push Model as SCP, PS3.4 annex J)."""

from collections.abc import Collection, Iterator, Sequence
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from mammography.ledger.tables import CommitmentRequestRow, InstanceRow

_UIDS_A_QUERY = 500
"""A database takes only so many parameters in one statement."""


def record_commitment_request(
    session: Session,
    transaction_uid: str,
    calling_ae_title: str,
    *,
    address: str,
    references: Sequence[tuple[str, str]],
    now: datetime,
    report_at: datetime | None,
) -> None:
    """Write a request down, in the place of an earlier one of the same transaction.

    `references`: SOP class and SOP instance UID of each instance. `report_at` is when the report is due; None where it
    can only go over the association on which it was asked for.
    """
    session.merge(
        CommitmentRequestRow(
            transaction_uid=transaction_uid,
            calling_ae_title=calling_ae_title,
            address=address,
            requested_at=now,
            references=[list(reference) for reference in references],
            attempts=0,
            next_attempt_at=report_at,
            reported_at=None,
            reason="",
        )
    )


def senders_due(session: Session, *, now: datetime) -> list[str]:
    """Return the AE titles of the senders with a report that is due, each once."""
    due = CommitmentRequestRow.next_attempt_at <= now
    return list(
        session.scalars(
            select(CommitmentRequestRow.calling_ae_title)
            .where(due)
            .distinct()
            .order_by(CommitmentRequestRow.calling_ae_title)
        )
    )


def due_commitment_requests(
    session: Session, calling_ae_title: str, *, now: datetime, limit: int = 100
) -> list[CommitmentRequestRow]:
    """Return the requests of one sender whose report is due, oldest first."""
    return list(
        session.scalars(
            select(CommitmentRequestRow)
            .where(CommitmentRequestRow.calling_ae_title == calling_ae_title)
            .where(CommitmentRequestRow.next_attempt_at <= now)
            .order_by(CommitmentRequestRow.requested_at)
            .limit(limit)
        )
    )


def commitment_request_told(
    session: Session, transaction_uid: str, calling_ae_title: str, *, now: datetime, reason: str
) -> None:
    """Write down that a sender took its report."""
    row = session.get(CommitmentRequestRow, (transaction_uid, calling_ae_title), with_for_update=True)
    if row is not None:
        row.reported_at, row.next_attempt_at, row.reason = now, None, reason
        row.attempts += 1


def commitment_request_untold(
    session: Session, transaction_uid: str, calling_ae_title: str, *, again_at: datetime | None, reason: str
) -> None:
    """Write down why a report was not taken, and when it is tried again; None is never, unless it asks again."""
    row = session.get(CommitmentRequestRow, (transaction_uid, calling_ae_title), with_for_update=True)
    if row is not None:
        row.next_attempt_at, row.reason = again_at, reason
        row.attempts += 1


def commitment_requests(session: Session, limit: int = 100) -> list[CommitmentRequestRow]:
    """Return what was asked, newest first."""
    query = select(CommitmentRequestRow).order_by(CommitmentRequestRow.requested_at.desc())
    return list(session.scalars(query.limit(limit)))


def held(session: Session, sop_instance_uids: Collection[str]) -> dict[str, InstanceRow]:
    """Return the instances of these UIDs that the ledger holds, by UID."""
    return {
        row.sop_instance_uid: row
        for uids in _batches(sorted(set(sop_instance_uids)))
        for row in session.scalars(select(InstanceRow).where(InstanceRow.sop_instance_uid.in_(uids)))
    }


def _batches(uids: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(uids), _UIDS_A_QUERY):
        yield uids[start : start + _UIDS_A_QUERY]
