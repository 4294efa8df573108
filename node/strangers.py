"""Who was turned away, on the way from the door to the ledger.

The door must not wait for the ledger: calls are counted here, and written every few seconds by a thread of its own.
"""

import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import structlog
from sqlalchemy.exc import SQLAlchemyError

from mammography.ledger.engine import Ledger
from mammography.ledger.strangers import TurnedAway, record_strangers
from node.porter import Call

_log = structlog.get_logger()

MOST_PENDING = 256
"""Application entities between two writings; more are only logged."""
BETWEEN_WRITINGS = timedelta(seconds=2)


def _now() -> datetime:
    return datetime.now(UTC)


class Strangers:
    """Counts those who were turned away, and writes them into the ledger."""

    def __init__(
        self, ledger: Ledger, *, pause: timedelta = BETWEEN_WRITINGS, now: Callable[[], datetime] = _now
    ) -> None:
        self._ledger, self._pause, self._now = ledger, pause.total_seconds(), now
        self._lock = threading.Lock()
        self._pending: dict[tuple[str, str, str], TurnedAway] = {}
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._write_until_stopped, name="strangers", daemon=True)

    def start(self) -> None:
        """Write from now on."""
        self._thread.start()

    def stop(self) -> None:
        """Write what is left, and end."""
        self._stopping.set()
        self._thread.join()

    def turned_away(self, call: Call, reason: str) -> None:
        """Count a call; never waits, never raises."""
        key = (call.calling_ae_title, call.address, call.called_ae_title)
        with self._lock:
            known = self._pending.get(key)
            if known is None and len(self._pending) >= MOST_PENDING:
                return
            self._pending[key] = TurnedAway(
                calling_ae_title=call.calling_ae_title,
                address=call.address,
                called_ae_title=call.called_ae_title,
                reason=reason,
                attempts=1 + (known.attempts if known else 0),
                last_at=self._now(),
            )

    def _write_until_stopped(self) -> None:
        while not self._stopping.wait(self._pause):
            self._write()
        self._write()

    def _write(self) -> None:
        with self._lock:
            calls, self._pending = self._pending, {}
        if not calls:
            return
        try:
            with self._ledger.begin() as session:
                record_strangers(session, calls.values())
        except SQLAlchemyError as failure:
            _log.error("ledger-away", reason=type(failure).__name__, strangers=len(calls))
            self._put_back(calls)

    def _put_back(self, calls: dict[tuple[str, str, str], TurnedAway]) -> None:
        with self._lock:
            for key, call in calls.items():
                newer = self._pending.get(key)
                self._pending[key] = (
                    replace(newer, attempts=newer.attempts + call.attempts) if newer else call
                )
