"""What a person has to look at: raised once while it lasts, and over when it is, or when they say so."""

from datetime import datetime
from enum import StrEnum

import structlog
from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from mammography.ledger.tables import AlarmRow

_log = structlog.get_logger()


class AlarmKind(StrEnum):
    """What is wrong."""

    INSTANCE_CONFLICT = "instance-conflict"
    """Two images came under one SOP Instance UID."""
    STUDY_OVERDUE = "study-overdue"
    """A study is longer in a state than it may be."""
    STUDY_FAILED = "study-failed"
    """A study waits for a person."""
    DESTINATION_UNKNOWN = "destination-unknown"
    """Objects wait for a destination that the settings no longer name."""
    IMAGE_LOST = "image-lost"
    """The ledger knows an image whose file is not in the data folder, or not whole."""
    DATA_FOLDER = "data-folder"
    """Ledger and data folder differ by more than a power cut leaves."""


ABOUT_STUDIES = frozenset(
    {
        AlarmKind.INSTANCE_CONFLICT,
        AlarmKind.STUDY_OVERDUE,
        AlarmKind.STUDY_FAILED,
        AlarmKind.IMAGE_LOST,
    }
)
"""The kinds whose subject is a Study Instance UID."""


def raise_alarm(session: Session, kind: AlarmKind, subject: str, sentence: str, *, now: datetime) -> bool:
    """Raise an alarm, or count it where it is raised already; return whether it is new."""
    row = session.scalars(_open(kind, subject).with_for_update()).first()
    if row is not None:
        row.times += 1
        row.last_at, row.sentence = now, sentence
        return False
    session.add(
        AlarmRow(
            kind=kind.value,
            subject=subject[:64],
            sentence=sentence,
            raised_at=now,
            last_at=now,
            times=1,
            over_at=None,
            over_because="",
        )
    )
    _log.error("alarm", kind=kind.value, subject=subject, sentence=sentence)
    return True


def alarm_over(session: Session, kind: AlarmKind, subject: str, *, now: datetime, because: str) -> bool:
    """End an alarm that is raised; return whether there was one."""
    row = session.scalars(_open(kind, subject).with_for_update()).first()
    if row is None:
        return False
    row.over_at, row.over_because = now, because
    _log.info("alarm-over", kind=kind.value, subject=subject, because=because)
    return True


def alarm_seen(session: Session, number: int, *, now: datetime, by: str) -> bool:
    """End an alarm because a person has seen it; return whether it was raised."""
    row = session.get(AlarmRow, number, with_for_update=True)
    if row is None or row.over_at is not None:
        return False
    row.over_at, row.over_because = now, f"{by} has seen it."
    return True


def was_raised(session: Session, kind: AlarmKind, subject: str, *, since: datetime) -> bool:
    """Return whether an alarm was raised since a moment, whatever became of it."""
    query = select(AlarmRow.number).where(
        AlarmRow.kind == kind.value, AlarmRow.subject == subject[:64], AlarmRow.raised_at >= since
    )
    return session.scalars(query.limit(1)).first() is not None


def alarms(session: Session, *, all_of_them: bool = False, limit: int = 100) -> list[AlarmRow]:
    """Return the alarms that are raised, or all there ever were; whichever came last comes first."""
    query = select(AlarmRow).order_by(AlarmRow.last_at.desc(), AlarmRow.number.desc()).limit(limit)
    return list(session.scalars(query if all_of_them else query.where(AlarmRow.over_at.is_(None))))


def _open(kind: AlarmKind, subject: str) -> Select[AlarmRow]:
    return select(AlarmRow).where(
        AlarmRow.over_at.is_(None), AlarmRow.kind == kind.value, AlarmRow.subject == subject[:64]
    )
