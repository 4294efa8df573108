"""How much the data folder holds by kind, how much is free, and what retention will free and when."""

import os
import shutil
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from sqlalchemy.orm import Session

from mammography.ledger.stored import kept_by_state, kept_since
from mammography.study import StudyState
from node.journal_replay import JOURNAL

MINIMUM_FREE_BYTES = 1 << 30
"""What the disk keeps free for results and for the ledger: below it no instance is accepted (0xA700, PS3.4 table B.2-1)."""

HORIZONS = (timedelta(0), timedelta(days=1), timedelta(days=7), timedelta(days=30))


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """So many files, of so many bytes."""

    files: int = 0
    bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class DiskReport:
    """The data folder at one moment."""

    images: Mapping[StudyState, Held]
    """Received images, by the state of their study; as the ledger knows them, without their headers."""
    results: Held
    quarantine: Held
    incoming: Held
    journal: Held
    """Of the last small images, until the system has written them: files that are written over and over."""
    free_bytes: int
    total_bytes: int
    frees: Mapping[timedelta, Held] | None
    """What retention will have deleted after so long, if nothing arrives meanwhile; None where it never deletes."""
    frees_next_at: datetime | None
    """When it deletes next."""


def disk_report(
    session: Session,
    data_dir: Path,
    *,
    states: Collection[StudyState],
    age: timedelta | None,
    now: datetime,
) -> DiskReport:
    """Return what the data folder holds; `states` and `age` are those of retention.

    Raises:
        FileNotFoundError: if there is no data folder.
    """
    usage = shutil.disk_usage(data_dir)
    studies = data_dir / "studies"
    results = [path / "results" for path in studies.iterdir()] if studies.is_dir() else []
    settled = kept_since(session, states) if age is not None else []
    due = [(since + age, count, size) for since, count, size in settled if age is not None]
    return DiskReport(
        images={
            state: Held(files=count, bytes=size) for state, (count, size) in kept_by_state(session).items()
        },
        results=held_in(results),
        quarantine=held_in([data_dir / "quarantine"]),
        incoming=held_in([data_dir / "incoming"]),
        journal=held_in([data_dir / JOURNAL]),
        free_bytes=usage.free,
        total_bytes=usage.total,
        frees=None if age is None else {horizon: _due_until(due, now + horizon) for horizon in HORIZONS},
        frees_next_at=min((at for at, _, _ in due), default=None),
    )


def held_in(folders: Iterable[Path]) -> Held:
    """Return what lies in folders and below them; a file that goes meanwhile does not count."""
    files = size = 0
    for folder in folders:
        for parent, _, names in os.walk(folder):
            for name in names:
                try:
                    size += (Path(parent) / name).stat().st_size
                except FileNotFoundError:
                    continue
                files += 1
    return Held(files=files, bytes=size)


def _due_until(due: Sequence[tuple[datetime, int, int]], moment: datetime) -> Held:
    """Return what is due at a moment."""
    until = [(count, size) for at, count, size in due if at <= moment]
    return Held(files=sum(count for count, _ in until), bytes=sum(size for _, size in until))
