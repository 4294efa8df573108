"""Sees to it that a clock that was set back holds nothing up."""

from datetime import datetime, timedelta

import structlog

from mammography.ledger.clock import LONGEST_PLANNED, bring_back
from mammography.ledger.engine import Ledger

BETWEEN_LOOKS = timedelta(seconds=30)

_log = structlog.get_logger()


DISTRUST = timedelta(minutes=1)
"""After a step back, and after a start: what is written meanwhile may have read the clock before."""


class Clock:
    """Looks into the ledger for moments that lie ahead, at its start and every half a minute.

    A delivery that was put off by an hour says nothing of the clock that it was put off by. After a clock was set back, and
    after a start, which does not know how the clock stood before, whatever is put off is therefore tried at once.
    """

    def __init__(self, *, ledger: Ledger, lease: timedelta) -> None:
        self._ledger, self._lease = ledger, lease
        self._looked_at: datetime | None = None
        self._distrust_until: datetime | None = None

    def sweep(self, *, now: datetime) -> int:
        """Bring back what lies ahead of `now`; return how many studies that touched."""
        if self._looked_at is not None and self._looked_at <= now < self._looked_at + BETWEEN_LOOKS:
            return 0
        if self._looked_at is None or now < self._looked_at:
            self._distrust_until = now + DISTRUST
        self._looked_at = now
        distrusted = self._distrust_until is not None and now < self._distrust_until
        planned = timedelta(0) if distrusted else LONGEST_PLANNED
        with self._ledger.begin() as session:
            touched = bring_back(session, now=now, lease=self._lease, longest_planned=planned)
        for uid in touched:
            _log.warning("due-at-once", study_instance_uid=uid, clock_may_have_been_ahead=True)
        return len(touched)
