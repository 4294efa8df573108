"""Instances in the ledger that were not accepted: the newest of them, so that a person can see what is wrong."""

from datetime import datetime

from sqlalchemy import delete, insert, select
from sqlalchemy.orm import Session

from mammography.ledger.tables import RefusalRow

MOST_REFUSALS = 10_000
"""So many of the newest are kept at least, and so many of the newest whose bytes went into the quarantine, which has fewer files.

A sender that tries again for days must not fill the disk, nor push out what was kept.
"""

FORGETS_EVERY = 100
"""So seldom is what is too old looked for: it takes milliseconds."""
_MOST_FORGOTTEN = 10_000
"""At once: there may be millions from before any were forgotten."""


def record_refusal(
    session: Session,
    *,
    at: datetime,
    calling_ae_title: str,
    sop_instance_uid: str,
    reason: str,
    path: str = "",
) -> None:
    """Remember an instance that was not accepted, what its sender was told, and where its bytes are; forget the oldest."""
    number = session.scalars(
        insert(RefusalRow)
        .values(
            at=at,
            calling_ae_title=calling_ae_title[:16],
            sop_instance_uid=sop_instance_uid[:128],
            reason=reason,
            path=path,
        )
        .returning(RefusalRow.number)
    ).one()
    if number % FORGETS_EVERY == 0:
        _forget_the_oldest(session, number)


def refusals(session: Session, limit: int = 100) -> list[RefusalRow]:
    """Return the instances that were not accepted, newest first."""
    return list(session.scalars(select(RefusalRow).order_by(RefusalRow.number.desc()).limit(limit)))


def _forget_the_oldest(session: Session, newest: int) -> None:
    """Forget what is beyond MOST_REFUSALS; `newest` is the number of the last."""
    kept_bytes = RefusalRow.path != ""
    last = (
        select(RefusalRow.number).where(kept_bytes).order_by(RefusalRow.number.desc()).offset(MOST_REFUSALS)
    )
    for too_old in (
        ~kept_bytes & (RefusalRow.number <= newest - MOST_REFUSALS),
        kept_bytes & (RefusalRow.number <= last.limit(1).scalar_subquery()),
    ):
        some = select(RefusalRow.number).where(too_old).order_by(RefusalRow.number).limit(_MOST_FORGOTTEN)
        oldest = delete(RefusalRow).where(RefusalRow.number.in_(some))
        session.execute(oldest.execution_options(synchronize_session=False))
