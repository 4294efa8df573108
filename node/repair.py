"""What a power cut left: after the start, and once a day, ledger and data folder are compared, and what differs is put right.

A file that was named but has no row was never acknowledged: it goes into the quarantine, and its sender sends it again.
A row without its file is a broken promise: an alarm. A file whose row says that it is deleted is removed.
"""

import os
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from itertools import groupby
from operator import attrgetter
from pathlib import Path

import structlog
from pydicom.errors import InvalidDicomError
from pydicom.filereader import read_file_meta_info

from mammography.ledger.alarms import AlarmKind, alarm_over, alarms, raise_alarm
from mammography.ledger.commitment_requests import held
from mammography.ledger.engine import Ledger
from mammography.ledger.stored import hold_arrivals, kept_instances, studies_after
from mammography.ledger.studies import record_refusal
from mammography.ledger.tables import InstanceRow
from node.journal_replay import ended_journals, replay_journals
from node.part10 import holds
from node.quarantine import Quarantine
from node.reception import QUARANTINE
from node.retention import image_uid, remove_deleted

SETTLED_AFTER = timedelta(minutes=5)
"""Longer than an instance is between its name and its row, whatever another receiver is busy with."""
AGAIN_AFTER = timedelta(days=1)
"""A receiver may be killed and started again while this process lives."""
REPLAY_AGAIN_AFTER = timedelta(seconds=30)
LONGEST_REPLAYING = timedelta(hours=1)
"""What a journal holds is not taken for lost meanwhile; one that cannot be replayed for so long may never be."""
STUDIES_A_STEP = 200
ORPHANS_A_STEP = 20
"""So few are moved while receivers wait."""
MOST_ORPHANS = 200
"""A receiver that is killed leaves one for each association at most, and what it refused last; where there are more, the ledger is not the one of these files."""
MOST_ALARMS = 200
"""Where more studies lost images, the data folder is not there."""
IS_IT_THE_RIGHT_ONE = (
    "Is the data folder the one of this ledger, is it mounted, was one of them restored from a backup? "
    "Put that right and start the node again."
)
WITHOUT_ROW = (
    "It was on the disk when the receiver was ended, and not yet in the ledger: its sender was not told success, "
    "and sends it again."
)

_log = structlog.get_logger()


class Repair:
    """Compares ledger and data folder at the start and once a day, a piece at each sweep, so that nothing else waits for it.

    Where the clock was set back to before the start, all begins anew.

    Files are looked at `SETTLED_AFTER` after the start, and only those that were written before it: what any receiver had
    begun by then is over. Even so nothing is recorded while an orphan is moved.
    """

    def __init__(self, *, ledger: Ledger, data_dir: Path, most_orphans: int = MOST_ORPHANS) -> None:
        self._ledger, self._data_dir, self._most_orphans = ledger, data_dir, most_orphans
        self._started: datetime | None = None
        self._replays_at: datetime | None = None
        """When the journals of processes that ended are looked at again; None is not before the next time that all begins anew."""
        self._begin_anew()

    def _begin_anew(self) -> None:
        self._last_study, self._rows_done = "", False
        self._lost: dict[str, str] = {}
        self._folders: list[Path] | None = None
        self._orphans: list[Path] = []
        self._leftovers = 0
        self._done = False

    def sweep(self, *, now: datetime) -> int:
        """Take the next piece, and return 1; 0 while there is nothing to do."""
        if self._started is None or not self._started <= now < self._started + AGAIN_AFTER:
            self._started = self._replays_at = now
            self._begin_anew()
        if self._done or self._is_replaying(self._started, now):
            return 0
        if not self._rows_done:
            self._compare_rows(now)
            return 1
        if now < self._started + SETTLED_AFTER:
            return 0
        if self._folders is None:
            studies = self._data_dir / "studies"
            self._folders = sorted(studies.iterdir()) if studies.is_dir() else []
        if self._folders:
            self._compare_files(self._folders[:STUDIES_A_STEP], self._started)
            del self._folders[:STUDIES_A_STEP]
        else:
            self._finish(now)
        return 1

    def _is_replaying(self, started: datetime, now: datetime) -> bool:
        """Have what journals hold put back, and return whether some is still to be: while the ledger is away, say."""
        if self._replays_at is None:
            return False
        if now < self._replays_at:
            return True
        replay_journals(self._ledger, self._data_dir)
        waits = bool(ended_journals(self._data_dir)) and now < started + LONGEST_REPLAYING
        self._replays_at = now + REPLAY_AGAIN_AFTER if waits else None
        return waits

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
        for uid in sorted(self._lost) if len(self._lost) <= MOST_ALARMS else ():
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
        written = [path for folder in folders for path in _written_before(folder, started)]
        for path in written:
            if path.suffix == ".part":
                path.unlink(missing_ok=True)  # whoever wrote it was ended
        images = [path for path in written if path.parent.name == "images" and path.suffix == ".dcm"]
        files = {path: image_uid(path) for path in images}
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
        aside = 0
        if self._orphans and len(self._orphans) <= self._most_orphans:
            aside = self._put_aside(now)
        self._ask_about_the_folder(now)
        self._done = True
        if aside or self._leftovers or self._lost or self._orphans:
            _log.warning(
                "start-up-repair",
                quarantined=aside,
                without_row=len(self._orphans),
                deleted_files_removed=self._leftovers,
                studies_that_lost_images=len(self._lost),
            )

    def _put_aside(self, now: datetime) -> int:
        """Move orphans into the quarantine, a few at a time, and return how many."""
        quarantine = Quarantine(self._data_dir / QUARANTINE)
        return sum(
            self._put_some_aside(self._orphans[start : start + ORPHANS_A_STEP], quarantine, now)
            for start in range(0, len(self._orphans), ORPHANS_A_STEP)
        )

    def _put_some_aside(self, orphans: Sequence[Path], quarantine: Quarantine, now: datetime) -> int:
        """Move orphans and say why, while no instance can be recorded; return how many still were some."""
        moved = 0
        with self._ledger.begin() as session:
            hold_arrivals(session)
            rows = held(session, [image_uid(path) for path in orphans])
            for path in orphans:
                if image_uid(path) in rows:
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
                        sop_instance_uid=image_uid(path),
                        reason=WITHOUT_ROW,
                        path=f"{QUARANTINE}/{name}",
                    )
        return moved

    def _ask_about_the_folder(self, now: datetime) -> None:
        """Raise one alarm where ledger and data folder do not belong together, and end it where they do."""
        doubts = []
        if len(self._orphans) > self._most_orphans:
            doubts.append(
                f"{len(self._orphans)} files below studies/ are unknown to the ledger, the first is "
                f"{self._orphans[0].name}; none was moved."
            )
        if len(self._lost) > MOST_ALARMS:
            doubts.append(f"{len(self._lost)} studies of the ledger have images that are not below studies/.")
        with self._ledger.begin() as session:
            if doubts:
                sentence = f"{' '.join(doubts)} {IS_IT_THE_RIGHT_ONE}"
                raise_alarm(session, AlarmKind.DATA_FOLDER, "studies", sentence, now=now)
            else:
                because = "Ledger and files agree."
                alarm_over(session, AlarmKind.DATA_FOLDER, "studies", now=now, because=because)


def _written_before(folder: Path, moment: datetime) -> list[Path]:
    """Return the files below a folder that were written before a moment."""
    found = []
    for path in sorted(Path(parent, name) for parent, _, names in os.walk(folder) for name in names):
        with suppress(FileNotFoundError):  # retention of another node took it meanwhile
            if path.stat().st_mtime <= moment.timestamp():
                found.append(path)
    return found


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
