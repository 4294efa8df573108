"""What a power cut took of small instances is put back from the journals of processes that ended, before anybody asks for it.

Only what came first under its name is left to a journal, and nothing is put back that the ledger knows better: what retention deleted since
stays deleted, and what came under the same UID since stays where it is.
"""

import json
from collections.abc import Sequence
from contextlib import closing
from dataclasses import fields
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import structlog
from sqlalchemy.exc import DataError, IntegrityError, SQLAlchemyError

from mammography.ledger.commitment_requests import held
from mammography.ledger.engine import Ledger
from mammography.ledger.studies import ArrivedInstance, record_instances
from mammography.ledger.tables import InstanceRow
from mammography.ledger.transaction import Transaction
from mammography.uid import lawful
from node.durable_files import write_whole
from node.journal import Entry, NewEntry, entries_of
from node.presence import alive_in
from node.settlement import Settlement

_log = structlog.get_logger()

JOURNAL, RECEIVERS = "journal", "receivers"
"""Folders below the data folder: of the journals, and of what tells which processes live."""

_TOGETHER = 100
"""Instances of one transaction: others wait for it."""
_TOLD = tuple(field.name for field in fields(ArrivedInstance))


class _Arrived(NamedTuple):
    """An instance that stands in a journal."""

    instance: ArrivedInstance
    part10: bytes
    """Its file."""


class _Unreadable(ValueError):
    """An entry says something that none of ours does."""


def entry_of(instance: ArrivedInstance, part10: Sequence[bytes | bytearray]) -> NewEntry:
    """Return the entry of an instance with this file, which has the name that the instance says."""
    told = {name: getattr(instance, name) for name in _TOLD}
    return NewEntry(json.dumps(told | {"received_at": instance.received_at.isoformat()}).encode(), part10)


def replay_journals(ledger: Ledger, data_dir: Path) -> int:
    """Put back files and rows that stand in the journals of processes that ended, and remove these; return how many instances that were.

    It may be done twice, and by several processes at once. Where a journal cannot be read, a file not be written, or the ledger is away, that journal
    stays for the next time, and the log says so.
    """
    ended = ended_journals(data_dir)
    if not ended:
        return 0
    replayed = 0
    with closing(Settlement(ledger, data_dir)) as settle:
        for path in ended:
            try:
                arrived = map(_arrived, entries_of(path))
                while some := list(islice(arrived, _TOGETHER)):
                    _put_back(ledger, data_dir, some)
                    replayed += len(some)
                settle()
                path.unlink(missing_ok=True)
            except (OSError, SQLAlchemyError, _Unreadable) as failure:
                _log.error("journal-not-replayed", file=path.name, reason=_in_one_line(failure))
    if replayed:
        _log.info("journals-replayed", files=len(ended), instances=replayed)
    return replayed


def ended_journals(data_dir: Path) -> list[Path]:
    """Return the journals of processes that ended, which are still to be replayed."""
    journals = sorted((data_dir / JOURNAL).glob("*"))
    alive = alive_in(data_dir / RECEIVERS)
    return [path for path in journals if path.name.partition("-")[0] not in alive]


def _put_back(ledger: Ledger, data_dir: Path, arrived: Sequence[_Arrived]) -> None:
    """Put instances back; what spoils a transaction was never promised, and is left out."""
    try:
        with ledger.transaction() as transaction:
            _put_back_within(transaction, data_dir, arrived)
    except (DataError, IntegrityError) as failure:
        if len(arrived) > 1:
            for each in arrived:
                _put_back(ledger, data_dir, [each])
        else:
            uid = arrived[0].instance.sop_instance_uid
            _log.error("journal-entry-left-out", sop_instance_uid=uid, reason=type(failure).__name__)


def _put_back_within(transaction: Transaction, data_dir: Path, arrived: Sequence[_Arrived]) -> None:
    """Write the files anew of what the ledger has as it arrived here, or has not at all; record the latter."""
    rows = held(transaction.session, [each.instance.sop_instance_uid for each in arrived])
    for instance, part10 in arrived:
        row = rows.get(instance.sop_instance_uid)
        if row is None or _is_of(row, instance):
            path = data_dir / instance.path
            path.parent.mkdir(parents=True, exist_ok=True)
            write_whole(path, part10, sync=False)  # the settlement brings all of them to the disk
    missing = [each.instance for each in arrived if each.instance.sop_instance_uid not in rows]
    if missing:
        record_instances(transaction, missing, digest_of=lambda _path, _bytes: "")


def _is_of(row: InstanceRow, instance: ArrivedInstance) -> bool:
    """Return whether a row keeps what arrived at that moment: another may have come under its name since."""
    return row.deleted_at is None and row.received_at == instance.received_at


def _arrived(entry: Entry) -> _Arrived:
    """Return what an entry says; another release may have told the ledger more, or less.

    Raises:
        _Unreadable: if that is not enough.
    """
    try:
        told = json.loads(entry.told)
        known = {name: told[name] for name in _TOLD if name in told}
        instance = ArrivedInstance(**known | {"received_at": datetime.fromisoformat(told["received_at"])})
    except (ValueError, TypeError, KeyError) as failure:
        raise _Unreadable(f"an entry says too little ({type(failure).__name__})") from failure
    uids = (instance.study_instance_uid, instance.sop_instance_uid)
    named = "studies/{}/images/{}.dcm".format(*uids)
    if not all(map(lawful, uids)) or instance.path != named or instance.bytes > len(entry.part10):
        raise _Unreadable("an entry names a file that is none of ours")
    return _Arrived(instance, entry.part10)


def _in_one_line(failure: Exception) -> str:
    """Return what went wrong, without statements and their parameters."""
    return type(failure).__name__ if isinstance(failure, SQLAlchemyError) else str(failure)
