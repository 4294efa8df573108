"""What a worker has at hand: the ledger, the images, the reader; and the Celery application that wakes it."""

import os
import socket
import uuid
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Protocol

from celery import Celery, signals
from celery.exceptions import SecurityWarning

from mammography.finding import Assessment
from mammography.ledger.doorbell import TASK, make_app
from mammography.ledger.engine import Ledger
from worker.settings import WorkerSettings


class ReadsStudies(Protocol):
    """What the worker asks of a reader: mammography.reader.reader.Reader, or a person's own."""

    def read_study(self, paths: Sequence[Path], *, read_at: datetime, beat: Callable[[], None]) -> Assessment:
        """Read the images of a study; `beat` is called between them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Workplace:
    """Everything that reading a study takes; one for each process."""

    ledger: Ledger
    data_dir: Path
    reader: ReadsStudies
    lease: timedelta
    most_claims: int
    owner: str
    """Names this process in the ledger: host, process, and a number that no other process ever has."""


def now() -> datetime:
    """Return the moment, aware and in UTC; the doors alone look at the clock."""
    return datetime.now(UTC)


def open_workplace(settings: WorkerSettings) -> Workplace:
    """Load the reader, once for each process, and open the ledger.

    The process must not fork afterwards: the threads of torch do not survive it.
    """
    return Workplace(
        ledger=Ledger(settings.ledger.url),
        data_dir=settings.node.data_dir,
        reader=load_reader(settings.reader.weights),
        lease=settings.reader.lease,
        most_claims=settings.reader.most_claims,
        owner=f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex}",
    )


def load_reader(weights: Path | None) -> ReadsStudies:
    """Return the reader of these weights; of the shipped ones where none are given."""
    from mammography.reader.reader import Reader

    return Reader.load(weights)


def run_worker(queue_url: str, workplace: Workplace) -> int:
    """Read every study that the bell is rung for, until SIGTERM, and return the exit status.

    One process, one study at a time: a first SIGTERM lets the study in hand be finished.
    """
    app = application(queue_url, workplace)
    warnings.simplefilter("ignore", SecurityWarning)  # about root and pickled messages; ours are JSON
    signals.setup_logging.connect(_keep_our_logging)
    celery_worker = app.Worker(
        pool="solo",
        concurrency=1,
        hostname=f"{uuid.uuid4().hex}@{socket.gethostname()}",
        quiet=True,
        loglevel="WARNING",
        without_gossip=True,
        without_mingle=True,
        without_heartbeat=True,
    )
    celery_worker.start()
    return int(celery_worker.exitcode or 0)


def application(queue_url: str, workplace: Workplace) -> Celery:
    """Return the Celery application with the one task, at work in `workplace`."""
    from worker.tasks import read_study

    app = make_app(queue_url)

    def read(study_instance_uid: str, **newer: object) -> None:  # noqa: ARG001  what a newer node may add
        """Read one study; the bell carries its identity and nothing else."""
        read_study(workplace, study_instance_uid)

    app.task(name=TASK)(read)
    return app


def _keep_our_logging(**_facts: object) -> None:
    """Keep Celery from setting up logging: mammography.telemetry has done so."""
