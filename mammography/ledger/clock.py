"""What was written under a clock that was ahead: brought back, or it would be waited for as long as the clock was wrong.

A virtual machine that is restored, or a clock that was never right, leaves moments in the ledger that lie further ahead than
anything that the node itself plans.
"""

from datetime import datetime, timedelta

from sqlalchemy import case, or_, select, update
from sqlalchemy.orm import Session
from sqlalchemy.sql.dml import ReturningUpdate

from mammography.ledger.moves import lock_study
from mammography.ledger.tables import CommitmentRequestRow, DeliveryRow, StudyRow
from mammography.study import StudyState

TOLERANCE = timedelta(minutes=1)
"""How far the clocks of machines that share a ledger may differ."""
LONGEST_PLANNED = timedelta(hours=8)
"""No delivery is put off for longer: a commitment is asked for again after six hours, give or take a fifth."""


def bring_back(
    session: Session, *, now: datetime, lease: timedelta, longest_planned: timedelta = LONGEST_PLANNED
) -> list[str]:
    """Bring moments that lie ahead of every plan back to `now`; return the studies that it touched.

    `lease` is how long a worker may be silent; `longest_planned` how far ahead a next attempt may lie, 0 where no plan is to be
    trusted. A study is locked before its deliveries are.
    """
    touched = _arrivals(session, now) | _leases(session, now, lease) | _bells(session, now)
    touched |= _deliveries(session, now, longest_planned)
    session.execute(
        update(CommitmentRequestRow)
        .where(CommitmentRequestRow.next_attempt_at > now + longest_planned)
        .values(next_attempt_at=now)
        .execution_options(synchronize_session=False)
    )
    return sorted(touched)


def _arrivals(session: Session, now: datetime) -> set[str]:
    """Let a study that arrives wait from now on."""
    ahead = now + TOLERANCE
    return _changed(
        session,
        update(StudyRow)
        .where(StudyRow.state == StudyState.RECEIVING)
        .where(or_(StudyRow.last_instance_at > ahead, StudyRow.state_since > ahead))
        .values(last_instance_at=now, state_since=now)
        .returning(StudyRow.study_instance_uid),
    )


def _leases(session: Session, now: datetime, lease: timedelta) -> set[str]:
    """Let a lease end one lease from now; a worker that lives renews it meanwhile."""
    return _changed(
        session,
        update(StudyRow)
        .where(StudyRow.state == StudyState.READING, StudyRow.lease_until > now + lease + TOLERANCE)
        .values(lease_until=now + lease)
        .returning(StudyRow.study_instance_uid),
    )


def _bells(session: Session, now: datetime) -> set[str]:
    """Let the bell be rung again."""
    return _changed(
        session,
        update(StudyRow)
        .where(StudyRow.state == StudyState.QUEUED, StudyRow.rung_at > now + TOLERANCE)
        .values(rung_at=None)
        .returning(StudyRow.study_instance_uid),
    )


def _deliveries(session: Session, now: datetime, longest_planned: timedelta) -> set[str]:
    """Let what was put off be due, and what is to have come into the outbox, or gone, in the time to come."""
    waits = DeliveryRow.next_attempt_at > now
    ahead = or_(
        DeliveryRow.next_attempt_at > now + longest_planned,
        waits & (DeliveryRow.due_since > now + TOLERANCE),
        waits & (DeliveryRow.sent_at > now + TOLERANCE),
    )
    studies = sorted(set(session.scalars(select(DeliveryRow.study_instance_uid).where(ahead))))
    for uid in studies:
        lock_study(session, uid)
    session.execute(
        update(DeliveryRow)
        .where(ahead)
        .values(
            next_attempt_at=now,
            due_since=case((DeliveryRow.due_since > now, now), else_=DeliveryRow.due_since),
            sent_at=case((DeliveryRow.sent_at > now, now), else_=DeliveryRow.sent_at),
        )
        .execution_options(synchronize_session=False)
    )
    return set(studies)


def _changed(session: Session, change: ReturningUpdate[tuple[str]]) -> set[str]:
    """Make a change, and return the studies that it touched."""
    return set(session.scalars(change.execution_options(synchronize_session=False)))
