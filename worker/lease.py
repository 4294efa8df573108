"""The lease under which a worker reads a study, and the thread that keeps it."""

import threading
from types import TracebackType
from typing import Self

import structlog
from sqlalchemy.exc import OperationalError

from mammography.ledger.studies import LostRace, renew_lease
from worker.app import Workplace, now

_log = structlog.get_logger()


class Heartbeat:
    """Renews the lease on one study every third of it, from a thread of its own, while the block runs."""

    def __init__(self, workplace: Workplace, study_instance_uid: str) -> None:
        self._workplace = workplace
        self._study_instance_uid = study_instance_uid
        self._stop = threading.Event()
        self._lost = threading.Event()
        self._thread = threading.Thread(target=self._beat_on, name="lease", daemon=True)

    def __enter__(self) -> Self:
        """Start to renew."""
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Renew no more."""
        self._stop.set()
        self._thread.join()

    def check(self) -> None:
        """Do nothing while the study is ours; the reader calls it between images.

        Raises:
            LostRace: if somebody else has the study now, so that the reading may stop.
        """
        if self._lost.is_set():
            raise LostRace(f"Study {self._study_instance_uid} was taken from {self._workplace.owner}.")

    def _beat_on(self) -> None:
        third = self._workplace.lease.total_seconds() / 3
        while not self._stop.wait(third):
            if not self._renew():
                self._lost.set()
                return

    def _renew(self) -> bool:
        """Renew once; a ledger that is away for a moment is asked again at the next beat."""
        try:
            with self._workplace.ledger.begin() as session:
                return renew_lease(
                    session,
                    self._study_instance_uid,
                    owner=self._workplace.owner,
                    now=now(),
                    lease=self._workplace.lease,
                )
        except OperationalError as away:
            _log.warning(
                "lease-not-renewed", study_instance_uid=self._study_instance_uid, error=str(away.orig)
            )
            return True
