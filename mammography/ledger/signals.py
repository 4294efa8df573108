"""What senders say a study holds, before or after it is here: it shortens the wait for more."""

from collections.abc import Collection
from datetime import datetime
from enum import StrEnum

from sqlalchemy import select
from sqlalchemy.orm import Session

from mammography.ledger.tables import CompletionSignalRow


class SignalSource(StrEnum):
    """Who says it."""

    STORAGE_COMMITMENT = "storage-commitment"
    PROCEDURE_STEP = "performed-procedure-step"


def record_signal(
    session: Session,
    source: SignalSource,
    source_uid: str,
    study_instance_uid: str,
    *,
    instances: Collection[str],
    finished: bool,
    now: datetime,
) -> None:
    """Write down what one source says of a study, in the place of what it said before."""
    session.merge(
        CompletionSignalRow(
            source=source.value,
            source_uid=source_uid,
            study_instance_uid=study_instance_uid,
            said_at=now,
            finished=finished,
            instances=sorted(instances),
        )
    )


def signals_of(session: Session, study_instance_uid: str) -> list[CompletionSignalRow]:
    """Return what was said of a study, oldest first."""
    query = select(CompletionSignalRow).where(CompletionSignalRow.study_instance_uid == study_instance_uid)
    return list(session.scalars(query.order_by(CompletionSignalRow.said_at, CompletionSignalRow.source_uid)))


def signals_from(session: Session, source: SignalSource, source_uid: str) -> list[CompletionSignalRow]:
    """Return what one source said, a row for each study."""
    query = select(CompletionSignalRow).where(
        CompletionSignalRow.source == source.value, CompletionSignalRow.source_uid == source_uid
    )
    return list(session.scalars(query.order_by(CompletionSignalRow.study_instance_uid)))
