"""Received images are deleted when their answer is where it belongs and old enough; never before (ADR 0018)."""

from collections.abc import Collection, Iterator, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import structlog

from mammography.ledger.engine import Ledger
from mammography.ledger.retention import (
    give_up_images,
    old_images_without_digest,
    remember_digests,
    still_deleted,
    studies_with_old_images,
)
from mammography.ledger.tables import InstanceRow
from mammography.study import StudyState
from node.data_set_digest import DataSetDigest
from node.metrics import IMAGES_DELETED
from node.part10 import holds

BETWEEN_LOOKS = timedelta(minutes=1)
STUDIES_A_LOOK = 20
BYTES_A_SWEEP = 16 << 20
"""Of files that are read before they go: other work waits for a tenth of a second, where a disk turns."""

_log = structlog.get_logger()


def answered_states(*, commitment: bool) -> frozenset[StudyState]:
    """Return where a study's answer is where it belongs; `commitment` is whether a destination commits to answers.

    Where one does, DELIVERED is not enough: an object that it does not commit to is sent again. Of an UNREADABLE study
    nothing is sent.
    """
    settled = {StudyState.COMMITTED, StudyState.UNREADABLE}
    return frozenset(settled if commitment else settled | {StudyState.DELIVERED})


class _Step(NamedTuple):
    """What was done since the last one."""

    studies: int = 0
    bytes: int = 0


class Retention:
    """Deletes the images of studies that have been in one of `states` for `age`; None is never.

    What an image was is remembered by its digest. Then the ledger says that it is deleted, and then its file goes. A process that
    dies in between leaves files that nobody is promised; the repair of the next start removes them.
    """

    def __init__(
        self, *, ledger: Ledger, data_dir: Path, age: timedelta | None, states: Collection[StudyState]
    ) -> None:
        self._ledger, self._data_dir, self._age = ledger, data_dir, age
        self._states = frozenset(states)
        self._looked_at: datetime | None = None
        self._work: Iterator[_Step] | None = None

    def sweep(self, *, now: datetime) -> int:
        """Look, every now and then, and delete the images of a few studies; return of how many.

        Their files are read before: what is left after BYTES_A_SWEEP is done by the next sweeps.
        """
        if self._age is None:
            return 0
        if self._looked_at is not None and self._looked_at <= now < self._looked_at + BETWEEN_LOOKS:
            return 0
        work, self._work = self._work or self._look(now - self._age, now), None
        deleted = size = 0
        for step in work:
            deleted, size = deleted + step.studies, size + step.bytes
            if size >= BYTES_A_SWEEP:
                self._work = work
                break
        return deleted

    def _look(self, until: datetime, now: datetime) -> Iterator[_Step]:
        with self._ledger.read() as session:
            studies = studies_with_old_images(session, states=self._states, until=until, limit=STUDIES_A_LOOK)
        for study_instance_uid in studies:
            yield from self._take_digests(study_instance_uid, until)
            self._delete(study_instance_uid, until, now)
            yield _Step(studies=1)
        self._looked_at = None if len(studies) == STUDIES_A_LOOK else now

    def _take_digests(self, study_instance_uid: str, until: datetime) -> Iterator[_Step]:
        """Remember what images were, so that the same are known again when somebody sends them."""
        with self._ledger.read() as session:
            rows = old_images_without_digest(session, study_instance_uid, states=self._states, until=until)
        digests = {}
        for row in rows:
            file = self._data_dir / row.path
            if not holds(file, row.bytes):
                continue  # what is left of it says nothing
            taking = DataSetDigest(file)
            try:
                for size in taking:
                    yield _Step(bytes=size)
            except OSError as refused:
                _log.warning("digest-not-taken", path=row.path, reason=refused.strerror)
                continue
            digests[row.sop_instance_uid] = taking.digest
        if digests:
            with self._ledger.begin() as session:
                remember_digests(session, digests)

    def _delete(self, study_instance_uid: str, until: datetime, now: datetime) -> None:
        """Give the images of one study up, then remove their files."""
        with self._ledger.begin() as session:
            given_up = give_up_images(session, study_instance_uid, states=self._states, until=until, now=now)
            count, size = len(given_up), sum(each.bytes for each in given_up)
        if not count:
            return
        remove_deleted(self._ledger, self._data_dir, study_instance_uid)
        IMAGES_DELETED.inc(count)
        _log.info("images-deleted", study_instance_uid=study_instance_uid, images=count, bytes=size)


def remove_deleted(ledger: Ledger, data_dir: Path, study_instance_uid: str) -> int:
    """Remove the files of images that the ledger says are deleted, and what was kept beside them; return how many.

    Under the study's lock: an image that was sent again meanwhile is no longer deleted, and one that is being sent
    finds its file gone and puts it there before it is promised.
    """
    removed = 0
    with ledger.begin() as session:
        for path in _files(data_dir, study_instance_uid, still_deleted(session, study_instance_uid)):
            try:
                path.unlink()
            except FileNotFoundError:
                continue
            except OSError as refused:
                _log.error("file-not-deleted", path=str(path), reason=refused.strerror)
                continue
            removed += 1
    return removed


def image_uid(path: Path) -> str:
    """Return the SOP Instance UID that a file is named for; other content that was kept beside has the same."""
    return path.stem.partition(".conflict-")[0]


def _files(data_dir: Path, study_instance_uid: str, deleted: Sequence[InstanceRow]) -> list[Path]:
    """Return the files of deleted images: those that rows name, and other content of the same SOP Instance UIDs."""
    uids = {each.sop_instance_uid for each in deleted}
    named = {data_dir / each.path for each in deleted}
    beside = (data_dir / "studies" / study_instance_uid / "images").glob("*.dcm")
    return sorted(named | {path for path in beside if image_uid(path) in uids})
