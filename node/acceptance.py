"""How instances that came whole become ours: a name, the disk, the ledger; once for all that came together (PS3.4 annex B)."""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import NamedTuple

import structlog
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, SQLAlchemyError

from mammography.ledger.commitment_requests import held
from mammography.ledger.engine import Ledger
from mammography.ledger.studies import ArrivedInstance, Recorded, record_instances
from mammography.ledger.transaction import Transaction
from node.arrival import Arrival, exhausted
from node.data_set_digest import data_set_digest
from node.dimse_status import StorageExhausted
from node.durable_files import sync_file, sync_folder
from node.group_commit import GroupCommit
from node.image_folders import ImageFolders
from node.instance_header import InstanceHeader
from node.journal import Journal
from node.journal_replay import JOURNAL, entry_of
from node.part10 import holds
from node.settlement import Settlement
from node.unrecorded import Left, Unrecorded

_log = structlog.get_logger()


class Examined(NamedTuple):
    """A sealed arrival, and what its header says."""

    arrival: Arrival
    header: InstanceHeader


class _Named(NamedTuple):
    """An arrival whose file has its final name, and what the ledger is to know of it."""

    instance: ArrivedInstance
    arrival: Arrival
    path: Path


_Naming = Callable[[], _Named]
"""Gives an arrival its name, unless it has one."""


class Acceptance:
    """Makes instances ours below `data_dir`; `process` is the name that this process has there.

    `sync` is whether they have to survive a power cut. A large one is synced and named by its own thread. Small ones are named by
    whoever works for the group, and go into the journal together.
    """

    def __init__(self, ledger: Ledger, data_dir: Path, process: str, *, sync: bool) -> None:
        self._ledger, self._data_dir, self._sync = ledger, data_dir, sync
        self._folders = ImageFolders(data_dir, sync=sync)
        self._settlement = Settlement(ledger, data_dir)
        self._journal = Journal(data_dir / JOURNAL, process, settle=self._settlement)
        self._unrecorded = Unrecorded(ledger)
        self._group = GroupCommit(self._accept)

    def accept(
        self, examined: Iterable[Examined], *, received_at: datetime
    ) -> Sequence[Recorded | Exception]:
        """Name sealed arrivals, make them durable, and bring them into the ledger; return what became of each, in their order.

        An exception among these is StorageExhausted where the disk or the ledger does not take it now, or Abandoned.
        """
        return self._group.submit([self._naming(*each, received_at) for each in examined])

    def close(self) -> None:
        """Settle what only the journal makes durable; nothing may be accepted after that."""
        self._unrecorded.remove()
        self._journal.close()
        self._settlement.close()

    def _naming(self, arrival: Arrival, header: InstanceHeader, received_at: datetime) -> _Naming:
        """Return what gives an arrival its name: a large one has it then."""
        naming: _Naming = partial(self._named, arrival, header, received_at)
        if arrival.is_small:
            return naming
        try:
            return partial(_same, naming())
        except StorageExhausted as refusal:
            return partial(_refused, refusal)

    def _named(self, arrival: Arrival, header: InstanceHeader, received_at: datetime) -> _Named:
        try:
            path = self._folders.name(arrival, header.study_instance_uid)
        except OSError as failure:
            raise exhausted(failure) from failure
        instance = ArrivedInstance(
            sop_instance_uid=header.sop_instance_uid,
            study_instance_uid=header.study_instance_uid,
            series_instance_uid=header.series_instance_uid,
            sop_class_uid=header.sop_class_uid,
            transfer_syntax_uid=arrival.announced.transfer_syntax_uid,
            path=f"studies/{header.study_instance_uid}/images/{path.name}",
            bytes=arrival.bytes,
            digest=arrival.digest_taken,
            calling_ae_title=arrival.announced.calling_ae_title,
            received_at=received_at,
            modality=header.modality,
            laterality=header.laterality,
            view_position=header.view_position,
            view_modifiers=header.view_modifiers,
            presentation_intent=header.presentation_intent,
            accession_number=header.accession_number,
            study_date=header.study_date,
        )
        return _Named(instance, arrival, path)

    def _accept(self, group: Sequence[_Naming]) -> Sequence[Recorded | Exception]:
        """Name those that have no name yet, and make ours whatever has one."""
        refusals: dict[int, Exception] = {}
        named = []
        for place, naming in enumerate(group):
            try:
                named.append(naming())
            except StorageExhausted as refusal:
                refusals[place] = refusal
        outcomes = iter(self._make_ours(named) if named else ())
        return [refusals.get(place) or next(outcomes) for place in range(len(group))]

    def _make_ours(self, group: Sequence[_Named]) -> Sequence[Recorded | Exception]:
        """Bring what came together to the disk and into the ledger."""
        small = [each for each in group if self._sync and each.arrival.is_small]
        try:
            if self._sync and len(small) < len(group):
                _sync_folders(each.path.parent for each in group if not each.arrival.is_small)
            entries = [entry_of(each.instance, each.arrival.part10()) for each in small]
            with self._journal.holding(entries) as held:
                if not held:
                    self._settle_alone(small)
                recorded = self._record(group)
            again = [each for each, became in zip(group, recorded, strict=True) if became is not Recorded.NEW]
            if self._sync:
                self._settle_alone([each for each in again if each.arrival.is_small])
            if again or not held or len(small) < len(group):
                self._ledger.sync()
        except OSError as failure:
            self._unrecorded.remember(_named_by_us(group))
            return [exhausted(failure)] * len(group)
        except SQLAlchemyError as failure:
            if len(group) > 1 and isinstance(failure, DataError | IntegrityError):
                return [self._make_ours([each])[0] for each in group]  # one of them spoils it
            self._unrecorded.remember(_named_by_us(group))
            return [self._ledger_away(failure)] * len(group)
        self._unrecorded.remove()
        return recorded

    def _record(self, group: Sequence[_Named]) -> Sequence[Recorded]:
        """Bring instances into the ledger, but not yet to the disk."""
        with self._ledger.transaction(durable=False) as transaction:
            instances = [each.instance for each in group]
            recorded = record_instances(transaction, instances, digest_of=partial(self._digest_of, group))
            self._set_beside(group, recorded)
            self._see_that_they_are_there(transaction, group, recorded)
        return recorded

    def _settle_alone(self, group: Sequence[_Named]) -> None:
        """Bring small ones to the disk that no journal holds, or whose UIDs the ledger knew: what came first is all that is put back."""
        for each in group:
            sync_file(each.path)
        _sync_folders(each.path.parent for each in group)

    def _set_beside(self, group: Sequence[_Named], recorded: Sequence[Recorded]) -> None:
        """Give the names back that these took where the ledger knows the instances by other bytes, before anybody looks who is there."""
        for each, became in zip(group, recorded, strict=True):
            if became is Recorded.CONFLICT:
                self._folders.set_beside(each.arrival, each.path)

    def _digest_of(self, group: Sequence[_Named], path: str, data_set_bytes: int) -> str:
        """Return the digest of a file that a row names; nothing where it is gone or cut short.

        Raises:
            OSError: if it cannot be read.
        """
        file = self._data_dir / path
        for each in group:
            if each.path == file and each.arrival.bytes == data_set_bytes:
                return each.arrival.digest
            if file in each.arrival.compared and holds(file, data_set_bytes):
                return each.arrival.compared[file]
        return data_set_digest(file) if holds(file, data_set_bytes) else ""

    def _see_that_they_are_there(
        self, transaction: Transaction, group: Sequence[_Named], recorded: Sequence[Recorded]
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
            if became is Recorded.CONFLICT or _is_there(each.arrival, path, is_its_own=row is None):
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            whole = path.with_name(each.arrival.path.name)
            os.link(each.arrival.in_file(), whole)
            whole.replace(path)
            if each.path != path:  # the same bytes, set beside what was left of the file
                each.path.unlink(missing_ok=True)
            if self._sync:
                sync_folder(path.parent)
            _log.warning("file-put-back", sop_instance_uid=each.instance.sop_instance_uid)

    @staticmethod
    def _ledger_away(failure: SQLAlchemyError) -> StorageExhausted:
        _log.error("ledger-away", reason=in_one_line(failure))
        away = StorageExhausted("The ledger cannot be written now.")
        away.__cause__ = failure
        return away


def in_one_line(failure: SQLAlchemyError) -> str:
    """Return what the database said, without the statement and its parameters."""
    said = failure.orig if isinstance(failure, DBAPIError) else failure
    return f"{type(failure).__name__}: {' '.join(str(said).split())}"


def _named_by_us(group: Sequence[_Named]) -> Iterator[Left]:
    """Yield what a group has on the disk that nobody else brought."""
    for each in group:
        with suppress(OSError):
            if each.path.samefile(each.arrival.path):
                yield each.instance.sop_instance_uid, each.path


def _is_there(arrival: Arrival, path: Path, *, is_its_own: bool) -> bool:
    """Return whether the bytes of an arrival are in a file that it was linked to, or that was there before it."""
    others = arrival.compared.get(path)
    if others is None and is_its_own:
        return arrival.is_at(path)
    return others in (None, arrival.digest_taken) and holds(path, arrival.bytes)


def _same(named: _Named) -> _Named:
    return named


def _refused(refusal: StorageExhausted) -> _Named:
    raise refusal


def _sync_folders(folders: Iterable[Path]) -> None:
    for folder in set(folders):
        sync_folder(folder)
