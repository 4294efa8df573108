"""Files that have their names, but whose instances the ledger did not take: their senders were told to send them again."""

import threading
from collections.abc import Iterable
from pathlib import Path

import structlog
from sqlalchemy.exc import SQLAlchemyError

from mammography.ledger.commitment_requests import held
from mammography.ledger.engine import Ledger
from mammography.ledger.stored import hold_arrivals

_log = structlog.get_logger()

MOST_REMEMBERED = 10_000
"""What is left beyond that is for the start-up repair."""
_TOGETHER = 500
"""Files of one transaction: others wait for it."""

Left = tuple[str, Path]
"""SOP Instance UID and file."""


class Unrecorded:
    """Removes such files once the ledger is there again, but for those that came again by then; any thread may use it."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._lock = threading.Lock()
        self._left: list[Left] = []

    def remember(self, left: Iterable[Left]) -> None:
        """Remember files to be removed."""
        with self._lock:
            self._left += left
            del self._left[MOST_REMEMBERED:]

    def remove(self) -> None:
        """Remove some, now that the ledger takes instances; what cannot be looked up now is left for the next time.

        Nothing is recorded meanwhile: whoever takes such a name sees afterwards that its file is not there, and puts it back.
        """
        if not self._left:
            return
        with self._lock:
            some, self._left = self._left[:_TOGETHER], self._left[_TOGETHER:]
        try:
            with self._ledger.begin() as session:
                hold_arrivals(session)
                known = held(session, [uid for uid, _ in some])
                gone = [path for uid, path in some if uid not in known]
                for path in gone:
                    path.unlink(missing_ok=True)
        except (OSError, SQLAlchemyError) as failure:
            _log.warning("unrecorded-files-stay", files=len(some), reason=type(failure).__name__)
            self.remember(some)
        else:
            _log.info("unrecorded-files-removed", files=len(gone))
