"""What the ledger says lies in the data folder, study by study, for whoever compares the two."""

from collections.abc import Collection, Sequence
from datetime import datetime

from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from mammography.ledger.tables import InstanceRow, StudyRow
from mammography.study import StudyState


def studies_after(session: Session, study_instance_uid: str, *, limit: int) -> list[str]:
    """Return the Study Instance UIDs that come next in the order of UIDs."""
    query = select(StudyRow.study_instance_uid).where(StudyRow.study_instance_uid > study_instance_uid)
    return list(session.scalars(query.order_by(StudyRow.study_instance_uid).limit(limit)))


def kept_instances(session: Session, study_instance_uids: Sequence[str]) -> list[InstanceRow]:
    """Return the instances of these studies, at most some hundreds, whose files retention has not deleted."""
    query = select(InstanceRow).where(
        InstanceRow.study_instance_uid.in_(study_instance_uids), InstanceRow.deleted_at.is_(None)
    )
    return list(session.scalars(query.order_by(InstanceRow.study_instance_uid, InstanceRow.sop_instance_uid)))


def hold_arrivals(session: Session) -> None:
    """Let no instance be recorded until the transaction ends; on SQLite none is anyway while one writes."""
    if session.connection().dialect.name == "postgresql":
        session.execute(text("LOCK TABLE instance IN SHARE ROW EXCLUSIVE MODE"))


def kept_by_state(session: Session) -> dict[StudyState, tuple[int, int]]:
    """Return how many images are kept of studies in each state, and their bytes."""
    query = (
        select(StudyRow.state, func.count(), func.sum(InstanceRow.bytes))
        .join(InstanceRow, InstanceRow.study_instance_uid == StudyRow.study_instance_uid)
        .where(InstanceRow.deleted_at.is_(None))
        .group_by(StudyRow.state)
    )
    return {state: (count, int(size)) for state, count, size in session.execute(query)}


def kept_since(session: Session, states: Collection[StudyState]) -> list[tuple[datetime, int, int]]:
    """Return for each study in one of these states since when its images age, how many are kept, and their bytes."""
    query = (
        select(
            StudyRow.state_since,
            func.max(InstanceRow.received_at),
            func.count(),
            func.sum(InstanceRow.bytes),
        )
        .join(InstanceRow, InstanceRow.study_instance_uid == StudyRow.study_instance_uid)
        .where(InstanceRow.deleted_at.is_(None), StudyRow.state.in_(states))
        .group_by(StudyRow.study_instance_uid, StudyRow.state_since)
    )
    return [
        (max(since, received), count, int(size)) for since, received, count, size in session.execute(query)
    ]
