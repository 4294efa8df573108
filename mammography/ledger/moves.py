"""How a study moves: one guarded step, and its line in the history."""

from collections.abc import Collection, Mapping
from datetime import datetime

import structlog
from sqlalchemy import event as sql_event
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from mammography.ledger.tables import HistoryRow, ResultRow, StudyRow
from mammography.study import StudyEvent, StudyState, next_state

_log = structlog.get_logger()


class LostRace(Exception):
    """Somebody else moved the study first; whoever catches it has nothing left to do for it."""


class UnknownStudy(Exception):
    """The ledger holds no study of this Study Instance UID."""


def advance(
    session: Session,
    study_instance_uid: str,
    *,
    seen: StudyState,
    event: StudyEvent,
    now: datetime,
    reason: str,
    where: Mapping[str, object] | None = None,
    **changes: object,
) -> StudyState:
    """Move a study from the state that was seen, and write its history: the only way a state changes.

    `where` names more columns of StudyRow that must be as they were seen (`{"revision": 1, "lease_owner": ...}`).
    A step that was prepared outside this transaction guards on `state_since` too: a study may have come back to
    the same state meanwhile. `changes` are further columns to set. A study that leaves READING loses its lease,
    and one that becomes QUEUED has to be rung for.

    Raises:
        LostRace: if the study is not as it was seen; nothing was changed.
        ImpossibleTransition: if the event cannot happen in that state.
    """
    target = next_state(seen, event)
    values: dict[str, object] = {"state": target, "reason": reason}
    if target != seen:
        values["state_since"] = now
    if target != StudyState.READING:
        values |= {"lease_owner": None, "lease_until": None}
    if target == StudyState.QUEUED:
        values["rung_at"] = None
    expected = {"state": seen, **(where or {})}
    moved = session.scalars(
        update(StudyRow)
        .where(StudyRow.study_instance_uid == study_instance_uid)
        .where(*[getattr(StudyRow, column) == value for column, value in expected.items()])
        .values(values | changes)
        .returning(StudyRow)
        .execution_options(synchronize_session="fetch", populate_existing=True)
    ).one_or_none()
    if moved is None:
        raise LostRace(f"Study {study_instance_uid} is no longer {seen}: {event} came too late.")
    remember(session, moved, at=now, event=event, reason=reason, seen=seen)
    if target != seen:
        facts = {"study_event": event.value, "state": target.value, "revision": moved.revision}
        facts["reason"] = reason
        sql_event.listen(
            session, "after_commit", lambda _session: _tell(study_instance_uid, facts), once=True
        )
    return target


def _tell(study_instance_uid: str, facts: Mapping[str, object]) -> None:
    """Log that a study moved; called once the transaction is committed."""
    _log.info("study-moved", study_instance_uid=study_instance_uid, **facts)


def lock_study(session: Session, study_instance_uid: str) -> StudyRow:
    """Return a study's row, locked until the transaction ends (on SQLite the whole ledger is).

    Raises:
        UnknownStudy: if there is none of this UID.
    """
    row = lock_studies(session, [study_instance_uid]).get(study_instance_uid)
    if row is None:
        raise UnknownStudy(f"The ledger holds no study {study_instance_uid}.")
    return row


def lock_studies(session: Session, study_instance_uids: Collection[str]) -> dict[str, StudyRow]:
    """Return the rows of those studies that there are by UID, locked in the order of their UIDs."""
    rows = session.scalars(
        select(StudyRow)
        .where(StudyRow.study_instance_uid.in_(sorted(study_instance_uids)))
        .order_by(StudyRow.study_instance_uid)
        .with_for_update(key_share=True)
        .execution_options(populate_existing=True)
    )
    return {row.study_instance_uid: row for row in rows}


def remember(
    session: Session,
    row: StudyRow,
    *,
    at: datetime,
    event: StudyEvent,
    reason: str,
    seen: StudyState | None = None,
) -> None:
    """Write one line of a study's history."""
    session.add(
        HistoryRow(
            study_instance_uid=row.study_instance_uid,
            at=at,
            event=event,
            from_state=seen,
            to_state=row.state,
            revision=row.revision,
            reason=reason,
        )
    )


def has_results(session: Session, row: StudyRow) -> bool:
    """Return whether the current revision of a study has objects that answer it."""
    query = select(ResultRow.sop_instance_uid).where(
        ResultRow.study_instance_uid == row.study_instance_uid, ResultRow.revision == row.revision
    )
    return session.scalars(query.limit(1)).one_or_none() is not None
