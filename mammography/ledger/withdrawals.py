"""What waits for each destination; and what waits for one that the settings no longer name, until a person withdraws it."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from mammography.ledger.deliveries import settle
from mammography.ledger.studies import lock_study
from mammography.ledger.tables import DeliveryRow, DeliveryState

_HELD_UP = (DeliveryState.PENDING, DeliveryState.REFUSED)
"""What keeps a study from being DELIVERED."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """What waits for one destination."""

    destination: str
    objects: int
    studies: int
    oldest: datetime
    """Since when the oldest of them is due."""
    reason: str
    """Why one of them waits; empty where none was tried yet."""


def waiting(session: Session) -> list[Waiting]:
    """Return what waits for each destination, by name; destinations for which nothing waits are left out."""
    query = (
        select(
            DeliveryRow.destination,
            func.count(),
            func.count(DeliveryRow.study_instance_uid.distinct()),
            func.min(DeliveryRow.due_since),
            func.max(DeliveryRow.reason),
        )
        .where(DeliveryRow.state.in_(_HELD_UP))
        .group_by(DeliveryRow.destination)
        .order_by(DeliveryRow.destination)
    )
    return [
        Waiting(destination=name, objects=objects, studies=studies, oldest=oldest, reason=reason)
        for name, objects, studies, oldest, reason in session.execute(query)
    ]


def withdraw(
    session: Session,
    destination: str,
    *,
    now: datetime,
    by: str,
    commitment_destinations: Collection[str],
) -> list[str]:
    """Give up what waits for a destination, because a person says so; return the studies, which are settled."""
    held_up = (DeliveryRow.destination == destination) & DeliveryRow.state.in_(_HELD_UP)
    studies = sorted(set(session.scalars(select(DeliveryRow.study_instance_uid).where(held_up))))
    for uid in studies:
        lock_study(session, uid)
    session.execute(
        update(DeliveryRow)
        .where(held_up, DeliveryRow.study_instance_uid.in_(studies))
        .values(
            state=DeliveryState.SUPERSEDED,
            next_attempt_at=None,
            reason=f"{by} withdrew it at {now:%Y-%m-%d %H:%M} UTC.",
        )
        .execution_options(synchronize_session=False)
    )
    for uid in studies:
        settle(session, uid, now=now, commitment_destinations=commitment_destinations)
    return studies
