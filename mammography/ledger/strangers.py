"""Callers in the ledger who were turned away, so that a person can let them in."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from mammography.ledger.tables import StrangerRow

MOST_STRANGERS = 500
"""Rows that are kept: whoever scans a network invents titles, and must not fill the ledger."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnedAway:
    """Calls of one application entity from one address to one title, since they were last recorded."""

    calling_ae_title: str
    address: str
    called_ae_title: str
    reason: str
    attempts: int
    last_at: datetime


def record_strangers(session: Session, calls: Iterable[TurnedAway]) -> None:
    """Add calls to those that are known, and forget the oldest beyond MOST_STRANGERS."""
    for call in calls:
        key = (call.calling_ae_title, call.address, call.called_ae_title)
        row = session.get(StrangerRow, key, with_for_update=True)
        if row is None:
            session.add(
                StrangerRow(
                    calling_ae_title=call.calling_ae_title,
                    address=call.address,
                    called_ae_title=call.called_ae_title,
                    reason=call.reason,
                    attempts=call.attempts,
                    first_at=call.last_at,
                    last_at=call.last_at,
                )
            )
        else:
            row.reason, row.last_at = call.reason, call.last_at
            row.attempts += call.attempts
    session.flush()
    _forget_the_oldest(session)


def strangers(session: Session, limit: int = 50) -> list[StrangerRow]:
    """Return who was turned away, whoever called last first."""
    return list(session.scalars(select(StrangerRow).order_by(StrangerRow.last_at.desc()).limit(limit)))


def _forget_the_oldest(session: Session) -> None:
    too_many = (session.scalar(select(func.count()).select_from(StrangerRow)) or 0) - MOST_STRANGERS
    if too_many <= 0:
        return
    oldest = select(StrangerRow).order_by(StrangerRow.last_at).limit(too_many)
    for row in session.scalars(oldest).all():
        session.execute(
            delete(StrangerRow).where(
                StrangerRow.calling_ae_title == row.calling_ae_title,
                StrangerRow.address == row.address,
                StrangerRow.called_ae_title == row.called_ae_title,
            )
        )
