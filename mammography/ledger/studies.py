"""Studies in the ledger: how they are claimed, expire, are retried, and are looked at.

Every function works inside the transaction of its caller (`with ledger.begin() as session:`), and `now` is an
aware moment. A study's row is locked before its deliveries are, always. How instances arrive is in arrivals, how
a study moves in moves; their names are offered here too.
"""

from collections.abc import Collection
from datetime import datetime, timedelta

from sqlalchemy import or_, select, update
from sqlalchemy.orm import Session

from mammography.ledger.arrivals import (
    ArrivedInstance,
    Recorded,
    record_instance,
    record_instances,
)
from mammography.ledger.moves import LostRace, UnknownStudy, advance, has_results, lock_study
from mammography.ledger.refusals import record_refusal, refusals
from mammography.ledger.tables import (
    DeliveryRow,
    DeliveryState,
    HistoryRow,
    InstanceRow,
    ResultRow,
    StudyRow,
)
from mammography.study import StudyEvent, StudyState

__all__ = [
    "ArrivedInstance",
    "LostRace",
    "Recorded",
    "UnknownStudy",
    "advance",
    "claim",
    "expire_leases",
    "give_back",
    "history_of",
    "in_state",
    "instances_of",
    "lock_study",
    "mark_rung",
    "record_instance",
    "record_instances",
    "record_refusal",
    "refusals",
    "renew_lease",
    "retry",
    "studies",
    "study",
    "unrung",
]


def claim(
    session: Session, study_instance_uid: str, *, owner: str, now: datetime, lease: timedelta
) -> StudyRow | None:
    """Take a QUEUED study for reading until `now + lease`; None where there is nothing to take."""
    row = study(session, study_instance_uid)
    if row is None or row.state != StudyState.QUEUED:
        return None
    try:
        advance(
            session,
            study_instance_uid,
            seen=StudyState.QUEUED,
            event=StudyEvent.CLAIMED,
            now=now,
            reason=f"{owner} reads it (claim {row.claims + 1} of revision {row.revision}).",
            claims=StudyRow.claims + 1,
            lease_owner=owner,
            lease_until=now + lease,
        )
    except LostRace:
        return None
    return row


def renew_lease(
    session: Session, study_instance_uid: str, *, owner: str, now: datetime, lease: timedelta
) -> bool:
    """Extend a lease to `now + lease`; False where the study is no longer this owner's."""
    renewed = session.scalars(
        update(StudyRow)
        .where(StudyRow.study_instance_uid == study_instance_uid)
        .where(StudyRow.state == StudyState.READING, StudyRow.lease_owner == owner)
        .values(lease_until=now + lease)
        .returning(StudyRow.study_instance_uid)
        .execution_options(synchronize_session=False)
    ).one_or_none()
    return renewed is not None


def give_back(
    session: Session, claimed: StudyRow, *, now: datetime, reason: str, most_claims: int = 3
) -> StudyState:
    """End a claim without an answer: QUEUED again, or FAILED once this revision was claimed `most_claims` times.

    `claimed` is the row as it was seen; its owner and revision guard the step.

    Raises:
        LostRace: if the study is no longer this owner's.
    """
    spent = claimed.claims >= most_claims
    return advance(
        session,
        claimed.study_instance_uid,
        seen=StudyState.READING,
        event=StudyEvent.GAVE_UP if spent else StudyEvent.LEASE_EXPIRED,
        now=now,
        reason=f"{reason} It was claimed {claimed.claims} times; a person has to look at it, then retry it."
        if spent
        else f"{reason} It is queued again.",
        where={"lease_owner": claimed.lease_owner, "revision": claimed.revision, "claims": claimed.claims},
    )


def expire_leases(session: Session, *, now: datetime, most_claims: int = 3) -> list[str]:
    """Take studies from workers that went silent: QUEUED again, or FAILED after `most_claims` claims.

    Returns the studies that moved; those that are QUEUED want a bell.
    """
    expired = session.scalars(
        select(StudyRow)
        .where(StudyRow.state == StudyState.READING, StudyRow.lease_until <= now)
        .order_by(StudyRow.study_instance_uid)
        .with_for_update(key_share=True, skip_locked=True)
        .execution_options(populate_existing=True)
    ).all()
    for row in expired:
        reason = f"{row.lease_owner} went silent, and its lease expired."
        give_back(session, row, now=now, reason=reason, most_claims=most_claims)
    return [row.study_instance_uid for row in expired]


def unrung(session: Session, *, now: datetime, again_after: timedelta, limit: int = 1000) -> list[str]:
    """Return the QUEUED studies, oldest first, that no bell was rung for since `now - again_after`."""
    return list(
        session.scalars(
            select(StudyRow.study_instance_uid)
            .where(StudyRow.state == StudyState.QUEUED)
            .where(or_(StudyRow.rung_at.is_(None), StudyRow.rung_at <= now - again_after))
            .order_by(StudyRow.state_since)
            .limit(limit)
        )
    )


def mark_rung(session: Session, study_instance_uids: Collection[str], *, now: datetime) -> None:
    """Remember that the bell was rung for these studies, where they are still QUEUED."""
    for uid in sorted(study_instance_uids):
        session.execute(
            update(StudyRow)
            .where(StudyRow.study_instance_uid == uid, StudyRow.state == StudyState.QUEUED)
            .values(rung_at=now)
            .execution_options(synchronize_session=False)
        )


def retry(session: Session, study_instance_uid: str, *, now: datetime, by: str) -> StudyState:
    """Let a study that is FAILED or UNREADABLE try again, because a person says so.

    Where the current revision has results, they stand: its failed deliveries are due at once, and the study is
    REPORTED. Otherwise it is RECEIVING with no claims, and completion judges it again.

    Raises:
        UnknownStudy: if there is none of this UID.
        ImpossibleTransition: if it is neither FAILED nor UNREADABLE.
        LostRace: if it moved meanwhile.
    """
    row = lock_study(session, study_instance_uid)
    event = StudyEvent.RETRIED
    if row.state == StudyState.FAILED and has_results(session, row):
        event = StudyEvent.DELIVERY_RETRIED
    state = advance(
        session,
        study_instance_uid,
        seen=row.state,
        event=event,
        now=now,
        reason=f"{by} retried it.",
        claims=0,
    )
    if event == StudyEvent.DELIVERY_RETRIED:
        _send_again(session, row, now)
    return state


def explain_wait(
    session: Session, study_instance_uid: str, *, last_instance_at: datetime, reason: str
) -> None:
    """Write down why a study that is arriving waits on, unless it moved or another image came meanwhile."""
    session.execute(
        update(StudyRow)
        .where(StudyRow.study_instance_uid == study_instance_uid, StudyRow.state == StudyState.RECEIVING)
        .where(StudyRow.last_instance_at == last_instance_at)
        .values(reason=reason)
    )


def study(session: Session, study_instance_uid: str) -> StudyRow | None:
    """Return a study's row, or None where there is none of this UID."""
    return session.get(StudyRow, study_instance_uid, populate_existing=True)


def studies(session: Session, *, limit: int = 100, states: Collection[StudyState] = ()) -> list[StudyRow]:
    """Return the studies, newest instance first; of these states alone where any are given."""
    query = select(StudyRow).order_by(StudyRow.last_instance_at.desc(), StudyRow.study_instance_uid)
    if states:
        query = query.where(StudyRow.state.in_(states))
    return list(session.scalars(query.limit(limit)))


def in_state(session: Session, *states: StudyState, limit: int = 100) -> list[StudyRow]:
    """Return the studies of these states; who has been there longest comes first."""
    query = select(StudyRow).where(StudyRow.state.in_(states)).order_by(StudyRow.state_since)
    return list(session.scalars(query.limit(limit)))


def instances_of(session: Session, study_instance_uid: str) -> list[InstanceRow]:
    """Return a study's instances as they arrived."""
    query = select(InstanceRow).where(InstanceRow.study_instance_uid == study_instance_uid)
    return list(session.scalars(query.order_by(InstanceRow.received_at, InstanceRow.sop_instance_uid)))


def history_of(session: Session, study_instance_uid: str) -> list[HistoryRow]:
    """Return everything that happened to a study, oldest first."""
    query = select(HistoryRow).where(HistoryRow.study_instance_uid == study_instance_uid)
    return list(session.scalars(query.order_by(HistoryRow.number)))


def _send_again(session: Session, row: StudyRow, now: datetime) -> None:
    """Put the failed deliveries of a study's current revision back into the outbox, due now."""
    of_this_revision = select(ResultRow.sop_instance_uid).where(
        ResultRow.study_instance_uid == row.study_instance_uid, ResultRow.revision == row.revision
    )
    session.execute(
        update(DeliveryRow)
        .where(DeliveryRow.sop_instance_uid.in_(of_this_revision))
        .where(DeliveryRow.state == DeliveryState.FAILED)
        .values(state=DeliveryState.PENDING, due_since=now, next_attempt_at=now, attempts=0)
        .execution_options(synchronize_session=False)
    )
