"""A settlement reaches the ledger's log and the file system of the data folder, and says where that fails."""

import errno
import os
from pathlib import Path

import pytest
from sqlalchemy import text

from mammography.ledger.engine import Ledger
from mammography.ledger.schema import upgrade
from node.durable_files import sync_file_system
from node.settlement import Settlement


def test_the_log_of_the_ledger_and_the_file_system_are_synced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    upgrade(f"sqlite:///{tmp_path}/ledger.db")
    ledger, done = Ledger(f"sqlite:///{tmp_path}/ledger.db"), []
    with ledger.transaction(durable=False) as transaction:
        transaction.connection.execute(text("DELETE FROM study"))
    real = os.fdatasync

    def note(descriptor: int) -> None:
        done.append(Path(f"/proc/self/fd/{descriptor}").readlink().name)
        real(descriptor)

    monkeypatch.setattr(os, "fdatasync", note)
    monkeypatch.setattr(
        "node.settlement.sync_file_system",
        lambda descriptor: done.append(Path(f"/proc/self/fd/{descriptor}").readlink().name),
    )
    settle = Settlement(ledger, tmp_path)
    settle()
    assert sorted(done) == sorted(["ledger.db-wal", tmp_path.name])
    monkeypatch.setattr(os, "fdatasync", fail)
    with pytest.raises(OSError, match="log cannot be brought to the disk"):
        settle()
    settle.close()
    settle.close()
    ledger.close()


def fail(_descriptor: int) -> None:
    raise OSError(errno.EIO, os.strerror(errno.EIO))


def test_what_the_system_refuses_is_said(tmp_path: Path):
    descriptor = os.open(tmp_path, os.O_RDONLY)
    sync_file_system(descriptor)
    os.close(descriptor)
    with pytest.raises(OSError, match="Bad file descriptor"):
        sync_file_system(descriptor)
