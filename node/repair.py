"""What a power cut left: once after the start, ledger and data folder are compared, and what differs is put right.

A file that was named but has no row was never acknowledged: it goes into the quarantine, and its sender sends it again.
A row without its file is a broken promise: an alarm. A file whose row says that it is deleted is removed.
"""

from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from itertools import groupby
from operator import attrgetter
from pathlib import Path

import structlog
from pydicom.errors import InvalidDicomError
from pydicom.filereader import read_file_meta_info
from sqlalchemy.orm import Session

from mammography.ledger.alarms import AlarmKind, alarm_over, alarms, raise_alarm
from mammography.ledger.commitment_requests import held
from mammography.ledger.engine import Ledger
from mammography.ledger.stored import hold_arrivals, kept_instances, studies_after
from mammography.ledger.studies import record_refusal
from mammography.ledger.tables import InstanceRow
from node.arrival import holds
from node.quarantine import Quarantine
from node.reception import QUARANTINE
from node.retention import remove_deleted

SETTLED_AFTER = timedelta(minutes=5)
"""Longer than an instance is between its name and its row, whatever another receiver is busy with."""
STUDIES_A_STEP = 200
MOST_ORPHANS = 200
"""A receiver leaves one for each association at most; where there are more, the ledger is not the one of these files."""
MOST_ALARMS = 200
WITHOUT_ROW = (
    "It was on the disk when the receiver was ended, and not yet in the ledger: its sender was not told success, "
    "and sends it again."
)

_log = structlog.get_logger()


class Repair:
    """Compares ledger and data folder once, a piece at each sweep, so that nothing else waits for it.

    Files are looked at `SETTLED_AFTER` after the start, and only those that were written before it: what any receiver had
    begun by then is over. Even so nothing is recorded while an orphan is moved.
    """

    def __init__(self, *, ledger: Ledger, data_dir: Path, most_orphans: int = MOST_ORPHANS) -> None:
        self._ledger, self._data_dir, self._most_orphans = ledger, data_dir, most_orphans
        self._started: datetime | None = None
        self._last_study, self._rows_done = "", False
        self._lost: dict[str, str] = {}
        self._folders: list[Path] | None = None
        self._orphans: list[Path] = []
        self._leftovers = 0
        self._done = False

    def sweep(self, *, now: datetime) -> int:
        """Take the next piece, and return 1; 0 while there is nothing to do, and for ever once all is done."""
        self._started = self._started or now
        if self._done:
            return 0
        if not self._rows_done:
            self._compare_rows(now)
            return 1
        if now < self._started + SETTLED_AFTER:
            return 0
        if self._folders is None:
            studies = self._data_dir / "studies"
            self._folders = sorted(path / "images" for path in studies.iterdir()) if studies.is_dir() else []
        if self._folders:
            self._compare_files(self._folders[:STUDIES_A_STEP], self._started)
            del self._folders[:STUDIES_A_STEP]
        else:
            self._finish(now)
        return 1

    def _compare_rows(self, now: datetime) -> None:
        """Look for the files of the next studies' rows."""
        with self._ledger.read() as session:
            studies = studies_after(session, self._last_study, limit=STUDIES_A_STEP)
            rows = kept_instances(session, studies)
        suspects = {row.study_instance_uid for row in rows if not self._whole(row)}
        if suspects:
            with self._ledger.read() as session:
                rows = kept_instances(session, sorted(suspects))
            lost = [row for row in rows if not self._whole(row)]
            for uid, group in groupby(lost, key=attrgetter("study_instance_uid")):
                self._lost[uid] = _in_words(list(group))
        if studies:
            self._last_study = studies[-1]
            return
        self._tell_of_lost(now)
        self._rows_done = True

    def _tell_of_lost(self, now: datetime) -> None:
        """Raise an alarm for each study that lost an image, and end those of studies that are whole again."""
        with self._ledger.read() as session:
            raised = {row.subject for row in alarms(session, limit=1000) if row.kind == AlarmKind.IMAGE_LOST}
        for uid in sorted(self._lost)[:MOST_ALARMS]:
            with self._ledger.begin() as session:
                raise_alarm(session, AlarmKind.IMAGE_LOST, uid, self._lost[uid], now=now)
        for uid in sorted(raised - self._lost.keys()):
            with self._ledger.begin() as session:
                alarm_over(session, AlarmKind.IMAGE_LOST, uid, now=now, because="Its images are here again.")

    def _whole(self, row: InstanceRow) -> bool:
        """Return whether the file of a row is there, whole."""
        return holds(self._data_dir / row.path, row.bytes)

    def _compare_files(self, folders: Sequence[Path], started: datetime) -> None:
        """Look for the rows of the next studies' files; remove those whose row says that they are deleted."""
        files = {path: _uid_of(path) for folder in folders for path in _written_before(folder, started)}
        with self._ledger.read() as session:
            rows = held(session, list(files.values()))
        self._orphans += [path for path, uid in files.items() if uid not in rows]
        given_up = {
            row.study_instance_uid
            for path, uid in files.items()
            if (row := rows.get(uid)) is not None and row.deleted_at is not None
        }
        for uid in sorted(given_up):
            self._leftovers += remove_deleted(self._ledger, self._data_dir, uid)

    def _finish(self, now: datetime) -> None:
        """Put the orphans aside, unless there are too many, and say once what was done."""
        self._done = True
        aside = 0
        if len(self._orphans) > self._most_orphans:
            with self._ledger.begin() as session:
                self._too_many(session, now)
        elif self._orphans:
            aside = self._put_aside(now)
        if aside or self._leftovers or self._lost or self._orphans:
            _log.warning(
                "start-up-repair",
                quarantined=aside,
                without_row=len(self._orphans),
                deleted_files_removed=self._leftovers,
                studies_that_lost_images=len(self._lost),
            )

    def _put_aside(self, now: datetime) -> int:
        """Move orphans into the quarantine, and return how many; who is recorded meanwhile is none."""
        quarantine = Quarantine(self._data_dir / QUARANTINE)
        moved = 0
        with self._ledger.begin() as session:
            hold_arrivals(session)
            rows = held(session, [_uid_of(path) for path in self._orphans])
            for path in self._orphans:
                if _uid_of(path) in rows:
                    continue
                sender = _sender_of(path)
                try:
                    name = quarantine.take(path, now=now)
                except OSError as refused:
                    _log.error("not-quarantined", path=str(path), reason=refused.strerror)
                    continue
                if name:
                    moved += 1
                    record_refusal(
                        session,
                        at=now,
                        calling_ae_title=sender,
                        sop_instance_uid=_uid_of(path),
                        reason=WITHOUT_ROW,
                        path=f"{QUARANTINE}/{name}",
                    )
        return moved

    def _too_many(self, session: Session, now: datetime) -> None:
        """Say that this is no work of a power cut; nothing is touched."""
        sentence = (
            f"{len(self._orphans)} files below studies/ are unknown to the ledger, the first is {self._orphans[0].name}. "
            "Is it the ledger of this data folder, or was it restored from a backup? Nothing was moved. Their senders "
            "may send them again."
        )
        raise_alarm(session, AlarmKind.FILES_WITHOUT_ROW, "studies", sentence, now=now)


def _written_before(folder: Path, moment: datetime) -> list[Path]:
    """Return the images in a folder that were written before a moment."""
    found = []
    for path in sorted(folder.glob("*.dcm")):
        with suppress(FileNotFoundError):  # retention of another node took it meanwhile
            if path.stat().st_mtime <= moment.timestamp():
                found.append(path)
    return found


def _uid_of(path: Path) -> str:
    """Return the SOP Instance UID that a file is named for; other content of a known one has the same."""
    return path.stem.partition(".conflict-")[0]


def _sender_of(path: Path) -> str:
    """Return the AE title that sent a file (0002,0016); nothing where the power cut left no header."""
    try:
        return str(read_file_meta_info(path).get("SourceApplicationEntityTitle", ""))
    except (OSError, InvalidDicomError, EOFError):
        return ""


def _in_words(lost: Sequence[InstanceRow]) -> str:
    """Return the alarm's sentence about the images that a study lost."""
    named = ", ".join(row.sop_instance_uid for row in lost[:5])
    more = f" and {len(lost) - 5} more" if len(lost) > 5 else ""
    senders = ", ".join(sorted({row.calling_ae_title for row in lost}))
    return (
        f"Of study {lost[0].study_instance_uid} the file of the image {named}{more} is missing or not whole, though its "
        f"sender ({senders}) was told that it is kept. Restore it, or have it sent again."
    )
