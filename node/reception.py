"""One instance from the network into the store: file, sync, name, row; only then is it ours (PS3.4 annex B)."""

import itertools
import os
import shutil
from collections.abc import Sequence
from contextlib import closing, suppress
from datetime import datetime
from functools import lru_cache, partial
from pathlib import Path
from typing import NamedTuple

import structlog
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, SQLAlchemyError

from mammography.ledger.commitment_requests import held
from mammography.ledger.engine import Ledger
from mammography.ledger.studies import ArrivedInstance, Recorded, record_instances, record_refusal
from mammography.ledger.transaction import Transaction
from mammography.uid import lawful
from node.arrival import Announcement, Arrival, exhausted, holds
from node.data_set_digest import data_set_digest
from node.dimse_status import InstanceMismatch, InstanceRefused, StorageExhausted
from node.disk import MINIMUM_FREE_BYTES
from node.group_commit import GroupCommit
from node.instance_header import InstanceHeader, read_instance_header
from node.metrics import INSTANCES, KEEPING_SECONDS
from node.presence import Presence
from node.quarantine import Quarantine
from node.survival import Survives

_log = structlog.get_logger()

QUARANTINE = "quarantine"
"""The folder, below the data folder, of what was refused for its content."""

_FOLDERS_REMEMBERED = 4096
_COUNTED = {recorded: INSTANCES.labels(recorded.value) for recorded in Recorded}


class _Sealed(NamedTuple):
    """An arrival that has its final name, and what the ledger is to know of it."""

    instance: ArrivedInstance
    arrival: Arrival
    path: Path
    folder: Path


class Reception:
    """The store of arriving instances below `data_dir`; threads and processes may share one.

    What several associations bring at the same moment is named and recorded together, with one sync of a folder
    and one commit.
    """

    def __init__(
        self,
        *,
        ledger: Ledger,
        data_dir: Path,
        minimum_free_bytes: int = MINIMUM_FREE_BYTES,
        survives: Survives = Survives.POWER_CUT,
    ) -> None:
        self._ledger = ledger
        self._data_dir = data_dir
        self._minimum_free_bytes = minimum_free_bytes
        self._incoming = data_dir / "incoming"
        self._incoming.mkdir(parents=True, exist_ok=True)
        self._presence, self._numbers = Presence(data_dir / "receivers"), itertools.count()
        self._syncs = survives is Survives.POWER_CUT
        self._durable_folders: set[Path] = set()
        self._group = GroupCommit(self._settle)
        self._quarantine = Quarantine(data_dir / QUARANTINE)
        self._images_of = lru_cache(_FOLDERS_REMEMBERED)(lambda uid: data_dir / "studies" / uid / "images")
        self._log = _log.bind()  # once: its levels are decided then

    def begin(self, announced: Announcement) -> Arrival:
        """Begin to take an instance in; it never fails: what is wrong is raised by `keep`."""
        path = self._incoming / f"{self._presence.name}-{next(self._numbers)}.part"
        return Arrival(announced, path, self._objection(announced), sync=self._syncs)

    def keep(self, arrival: Arrival, *, now: datetime) -> str:
        """Make an arrival durable: synced, named and in the ledger. Returns its Study Instance UID.

        The same bytes again change nothing; other bytes under a known SOP Instance UID are kept beside the
        first, and the history says so. A refusal is recorded and logged; what is refused for its content goes into the
        quarantine.

        Raises:
            InstanceRefused: if the sender must change it before it sends it again.
            StorageExhausted: if it cannot be kept now.
        """
        try:
            with KEEPING_SECONDS.time():
                return self._keep(arrival, now)
        except InstanceRefused as refusal:
            INSTANCES.labels("refused").inc()
            self._record_refusal(arrival, refusal, now, quarantined=self._quarantine.keep(arrival, now=now))
            raise
        except StorageExhausted as refusal:
            INSTANCES.labels("exhausted").inc()
            self._record_refusal(arrival, refusal, now)
            raise
        finally:
            arrival.discard()

    def store(
        self,
        *,
        sop_class_uid: str,
        sop_instance_uid: str,
        transfer_syntax_uid: str,
        calling_ae_title: str,
        data_set: bytes | memoryview,
        now: datetime,
    ) -> str:
        """Take in a whole encoded data set at once: `begin`, `write` and `keep` in one."""
        arrival = self.begin(
            Announcement(
                sop_class_uid=sop_class_uid,
                sop_instance_uid=sop_instance_uid,
                transfer_syntax_uid=transfer_syntax_uid,
                calling_ae_title=calling_ae_title,
            )
        )
        arrival.write(data_set)
        return self.keep(arrival, now=now)

    def sweep_incoming(self) -> int:
        """Remove what a killed process left half received, and return how many files that were.

        Nobody was answered for any of them. What other processes receive that live is left alone.
        """
        alive = self._presence.others() | {self._presence.name}
        orphans = [path for path in self._incoming.glob("*.part") if path.name.partition("-")[0] not in alive]
        for orphan in orphans:
            orphan.unlink(missing_ok=True)
        if orphans:
            _log.info("incoming-swept", files=len(orphans))
        return len(orphans)

    def _objection(self, announced: Announcement) -> InstanceRefused | StorageExhausted | None:
        """Return why an instance is refused before its data set comes."""
        for name, uid in (
            ("SOP Class UID", announced.sop_class_uid),
            ("SOP Instance UID", announced.sop_instance_uid),
            ("Transfer Syntax UID", announced.transfer_syntax_uid),
        ):
            if not lawful(uid):
                return InstanceRefused(f"The {name} of the command is not lawful.")
        try:
            free = shutil.disk_usage(self._data_dir).free
        except OSError as failure:
            return exhausted(failure)
        if free < self._minimum_free_bytes:
            return StorageExhausted("The disk is full: nothing more is accepted.")
        return None

    def _keep(self, arrival: Arrival, now: datetime) -> str:
        arrival.seal()
        if not arrival.bytes:
            raise InstanceRefused("The command came without a data set.")
        header = self._examine(arrival)
        images = self._images_of(header.study_instance_uid)
        try:
            path = self._name(arrival, images)
        except OSError as failure:
            raise exhausted(failure) from failure
        recorded = self._group.submit(_Sealed(self._row(arrival, header, path, now), arrival, path, images))
        if recorded is Recorded.CONFLICT:
            _set_beside(path, images / _conflict_name(arrival))
        _COUNTED[recorded].inc()
        self._log.debug(
            "instance-stored",
            sop_instance_uid=header.sop_instance_uid,
            study_instance_uid=header.study_instance_uid,
            bytes=arrival.bytes,
            recorded=recorded.value,
        )
        return header.study_instance_uid

    def _name(self, arrival: Arrival, images: Path) -> Path:
        """Give an arrival its final name in a folder that is durable; somebody may have removed one that was."""
        self._make_durable(images)
        try:
            return _name(arrival, images)
        except FileNotFoundError:
            self._durable_folders.discard(images)
            self._make_durable(images)
            return _name(arrival, images)

    def _examine(self, arrival: Arrival) -> InstanceHeader:
        """Read the header, and refuse an instance that is not the announced one."""
        announced = arrival.announced
        with closing(arrival.data_set()) as data_set:
            header = read_instance_header(
                data_set,
                transfer_syntax_uid=announced.transfer_syntax_uid,
                sop_class_uid=announced.sop_class_uid,
            )
        if header.sop_instance_uid != announced.sop_instance_uid:
            raise InstanceMismatch("SOP Instance UID differs between command and data set.")
        if header.sop_class_uid != announced.sop_class_uid:
            raise InstanceMismatch("SOP Class UID differs between command and data set.")
        return header

    def _row(self, arrival: Arrival, header: InstanceHeader, path: Path, now: datetime) -> ArrivedInstance:
        return ArrivedInstance(
            sop_instance_uid=header.sop_instance_uid,
            study_instance_uid=header.study_instance_uid,
            series_instance_uid=header.series_instance_uid,
            sop_class_uid=header.sop_class_uid,
            transfer_syntax_uid=arrival.announced.transfer_syntax_uid,
            path=f"studies/{header.study_instance_uid}/images/{path.name}",
            bytes=arrival.bytes,
            digest=arrival.digest_taken,
            calling_ae_title=arrival.announced.calling_ae_title,
            received_at=now,
            modality=header.modality,
            laterality=header.laterality,
            view_position=header.view_position,
            view_modifiers=header.view_modifiers,
            presentation_intent=header.presentation_intent,
            accession_number=header.accession_number,
            study_date=header.study_date,
        )

    def _settle(self, group: Sequence[_Sealed]) -> Sequence[Recorded | Exception]:
        """Bring the names of files to the disk, and their rows into the ledger, for all that came together."""
        try:
            if self._syncs:
                for folder in {each.folder for each in group}:
                    sync_folder(folder)
            with self._ledger.transaction() as transaction:
                instances = [each.instance for each in group]
                recorded = record_instances(transaction, instances, digest_of=partial(self._digest_of, group))
                self._see_that_they_are_there(transaction, group, recorded)
            return recorded
        except OSError as failure:
            return [exhausted(failure)] * len(group)
        except SQLAlchemyError as failure:
            if len(group) > 1 and isinstance(failure, DataError | IntegrityError):
                return [self._settle([each])[0] for each in group]  # one of them spoils it
            _log.error("ledger-away", reason=_in_one_line(failure))
            away = StorageExhausted("The ledger cannot be written now.")
            away.__cause__ = failure
            return [away] * len(group)

    def _digest_of(self, group: Sequence[_Sealed], path: str, data_set_bytes: int) -> str:
        """Return the digest of a file that a row names; nothing where it is gone or cut short.

        Raises:
            OSError: if it cannot be read.
        """
        file = self._data_dir / path
        for each in group:
            if each.path == file:
                return each.arrival.digest
            if file in each.arrival.compared and holds(file, data_set_bytes):
                return each.arrival.compared[file]
        return data_set_digest(file) if holds(file, data_set_bytes) else ""

    def _see_that_they_are_there(
        self, transaction: Transaction, group: Sequence[_Sealed], recorded: Sequence[Recorded]
    ) -> None:
        """Put back what retention or a repair removed since it was named, while the study's lock keeps both out.

        Of the same bytes again the file that counts is the one that the row names; it may be lost.
        """
        again = [
            each.instance.sop_instance_uid
            for each, became in zip(group, recorded, strict=True)
            if became is Recorded.SAME
        ]
        rows = held(transaction.session, again) if again else {}
        for each, became in zip(group, recorded, strict=True):
            row = rows.get(each.instance.sop_instance_uid) if became is Recorded.SAME else None
            path = self._data_dir / row.path if row else each.path
            if became is Recorded.CONFLICT or holds(path, each.arrival.bytes):
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            whole = path.with_name(each.arrival.path.name)
            os.link(each.arrival.path, whole)
            whole.replace(path)
            if self._syncs:
                sync_folder(path.parent)
            _log.warning("file-put-back", sop_instance_uid=each.instance.sop_instance_uid)

    def _record_refusal(
        self,
        arrival: Arrival,
        refusal: InstanceRefused | StorageExhausted,
        now: datetime,
        *,
        quarantined: str = "",
    ) -> None:
        """Say once in the log and once in the ledger what the sender is told."""
        announced = arrival.announced
        _log.warning(
            "instance-refused",
            sop_instance_uid=announced.sop_instance_uid,
            reason=str(refusal),
            quarantined=quarantined,
        )
        try:
            with self._ledger.begin() as session:
                record_refusal(
                    session,
                    at=now,
                    calling_ae_title=announced.calling_ae_title,
                    sop_instance_uid=announced.sop_instance_uid,
                    reason=str(refusal),
                    path=f"{QUARANTINE}/{quarantined}" if quarantined else "",
                )
        except SQLAlchemyError as failure:
            _log.error("ledger-away", reason=_in_one_line(failure))

    def _make_durable(self, folder: Path) -> None:
        """Make a folder and its parents, and sync the names of all of them up to the data folder."""
        if folder in self._durable_folders:
            return
        folder.mkdir(parents=True, exist_ok=True)
        above = folder
        while self._syncs and above != self._data_dir:
            above = above.parent
            sync_folder(above)
        if len(self._durable_folders) >= _FOLDERS_REMEMBERED:
            self._durable_folders.clear()
        self._durable_folders.add(folder)


def sync_folder(folder: Path) -> None:
    """Bring the names in a folder to the disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _name(arrival: Arrival, images: Path) -> Path:
    """Give a sealed arrival its final name, and return it.

    A link, unlike a rename, never replaces what another sender put there: where the name is taken by other
    bytes, these stand beside. The folder is synced later. Whatever the ledger then decides, the path that it is told holds these bytes.
    """
    for name in (_plain_name, _conflict_name):
        path = images / name(arrival)
        try:
            os.link(arrival.path, path)
        except FileExistsError:
            arrival.compared[path] = data_set_digest(path)
            if arrival.compared[path] != arrival.digest:
                continue
        return path
    raise InstanceRefused("The SOP Instance UID is in use for other images.")


def _plain_name(arrival: Arrival) -> str:
    return f"{arrival.announced.sop_instance_uid}.dcm"


def _conflict_name(arrival: Arrival) -> str:
    return f"{arrival.announced.sop_instance_uid}.conflict-{arrival.digest[:8]}.dcm"


def _set_beside(path: Path, conflict_path: Path) -> None:
    """Free the plain name where these bytes took it but the ledger knows the instance by others."""
    if path != conflict_path:
        with suppress(FileNotFoundError):  # another sender of the same bytes did it
            path.rename(conflict_path)
            sync_folder(path.parent)


def _in_one_line(failure: SQLAlchemyError) -> str:
    """Return what the database said, without the statement and its parameters."""
    said = failure.orig if isinstance(failure, DBAPIError) else failure
    return f"{type(failure).__name__}: {' '.join(str(said).split())}"
