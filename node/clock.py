"""Sees to it that a clock that was set back holds nothing up."""

from datetime import datetime, timedelta

import structlog

from mammography.ledger.clock import bring_back
from mammography.ledger.engine import Ledger

BETWEEN_LOOKS = timedelta(seconds=30)

_log = structlog.get_logger()


class Clock:
    """Looks into the ledger for moments that lie ahead, at its start and every half a minute."""

    def __init__(self, *, ledger: Ledger, lease: timedelta) -> None:
        self._ledger, self._lease = ledger, lease
        self._looked_at: datetime | None = None

    def sweep(self, *, now: datetime) -> int:
        """Bring back what lies ahead of `now`; return how many studies that touched."""
        if self._looked_at is not None and self._looked_at <= now < self._looked_at + BETWEEN_LOOKS:
            return 0
        self._looked_at = now
        with self._ledger.begin() as session:
            touched = bring_back(session, now=now, lease=self._lease)
        for uid in touched:
            _log.warning("clock-was-ahead", study_instance_uid=uid)
        return len(touched)
