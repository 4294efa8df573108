"""A worker process whose reader takes as long, and fails as often, as a test wants: the rest is the real worker.

Run as: python -m tests.worker.at_work LEDGER_URL QUEUE_URL DATA_DIR LEASE_SECONDS SECONDS_PER_IMAGE
An image whose path ends in "crash" raises, one that ends in "kill" ends the process as a power cut does.
"""

import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from pathlib import Path

from mammography.finding import Assessment, ImageReading, ReaderIdentity, ReadStatus
from mammography.ledger.engine import Ledger
from mammography.telemetry.logging import configure_logging
from worker.app import Workplace, run_worker

IDENTITY = ReaderIdentity(
    name="patience", version="1", weights_sha256="0" * 64, operating_point="none", trained_on="Nothing"
)


class PatientReader:
    """Reads every image after a while, and finds nothing."""

    def __init__(self, seconds: float = 0.0, during: Callable[[Path], None] = lambda _: None) -> None:
        self.seconds = seconds
        self.during = during

    def read_study(self, paths: Sequence[Path], *, read_at: datetime, beat: Callable[[], None]) -> Assessment:
        images = []
        for path in paths:
            beat()
            time.sleep(self.seconds)
            self.during(path)
            images.append(ImageReading(sop_instance_uid=path.stem, view=None, status=ReadStatus.READ))
        return Assessment(reader=IDENTITY, read_at=read_at, images=tuple(images))


class Crash(Exception):
    """What nobody anticipated."""


def fail(path: Path) -> None:
    """Do to the process what the name of the file says."""
    if path.name.endswith("crash"):
        raise Crash(path.name)
    if path.name.endswith("kill"):
        os.kill(os.getpid(), signal.SIGKILL)


def workplace(
    ledger: Ledger,
    data_dir: Path,
    reader: PatientReader,
    *,
    lease: float = 60.0,
    owner: str = "worker-1",
) -> Workplace:
    """Return a place to work at."""
    return Workplace(
        ledger=ledger,
        data_dir=data_dir,
        reader=reader,
        lease=timedelta(seconds=lease),
        most_claims=3,
        owner=owner,
    )


if __name__ == "__main__":
    configure_logging("worker", log_format="json")
    ledger_url, queue_url, data_dir, lease_seconds, seconds = sys.argv[1:]
    place = workplace(
        Ledger(ledger_url),
        Path(data_dir),
        PatientReader(float(seconds), fail),
        lease=float(lease_seconds),
        owner=f"worker:{os.getpid()}:",
    )
    sys.exit(run_worker(queue_url, place))
