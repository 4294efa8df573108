"""A commit is on the disk when its transaction returns, and nobody else who writes waits for that."""

import errno
import os
import shutil
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from sqlalchemy import text

from mammography.ledger import write_ahead_log
from mammography.ledger.engine import Ledger, make_engine
from mammography.ledger.schema import upgrade
from mammography.ledger.studies import instances_of, record_instance, studies
from mammography.ledger.write_ahead_log import NotDurable, WriteAheadLog
from tests.ledger.given import STUDY, image, received


@pytest.fixture
def alone(tmp_path: Path) -> Ledger:
    """A ledger in SQLite, whatever else the tests run on."""
    url = f"sqlite:///{tmp_path}/ledger.db"
    upgrade(url)
    return Ledger(url)


@pytest.fixture
def at_each_sync(monkeypatch: pytest.MonkeyPatch) -> list[Callable[[Path], None]]:
    """What is called, once each, with the file that was just synced."""
    called: list[Callable[[Path], None]] = []
    real = os.fdatasync

    def fdatasync(descriptor: int) -> None:
        real(descriptor)
        if called:
            called.pop(0)(Path(f"/proc/self/fd/{descriptor}").readlink())

    monkeypatch.setattr(os, "fdatasync", fdatasync)
    return called


def test_what_is_synced_holds_what_was_committed(
    alone: Ledger, tmp_path: Path, at_each_sync: list[Callable[[Path], None]]
):
    kept = tmp_path / "kept"
    kept.mkdir()

    def keep(log: Path) -> None:
        assert log == tmp_path / "ledger.db-wal"
        shutil.copy(tmp_path / "ledger.db", kept)
        shutil.copy(log, kept)

    at_each_sync.append(keep)
    with alone.begin() as session:
        received(session)
    assert not at_each_sync, "it was synced before the transaction returned"
    after_a_power_cut = Ledger(f"sqlite:///{kept}/ledger.db")
    with after_a_power_cut.read() as session:
        assert len(instances_of(session, STUDY)) == 4
    after_a_power_cut.close()


def test_while_one_waits_for_the_disk_another_writes(
    alone: Ledger, at_each_sync: list[Callable[[Path], None]]
):
    another = Ledger(alone.url.render_as_string(hide_password=False))

    def write(_log: Path) -> None:
        with another.begin() as session:
            record_instance(session, image(1))

    at_each_sync.append(write)
    with alone.begin() as session:
        received(session, "1.9")
    assert not at_each_sync
    with alone.read() as session:
        assert len(instances_of(session, STUDY)) == 1
    another.close()


def test_what_others_committed_and_was_seen_is_synced_too(
    alone: Ledger, at_each_sync: list[Callable[[Path], None]]
):
    with alone.begin() as session:
        received(session)
    synced: list[Path] = []
    at_each_sync.append(synced.append)
    with alone.begin() as session:
        assert len(studies(session)) == 1
    assert len(synced) == 1, "whoever committed that may not have come to its sync yet"


def test_what_was_rolled_back_is_not_synced(alone: Ledger, at_each_sync: list[Callable[[Path], None]]):
    at_each_sync.append(lambda log: pytest.fail(f"{log} was synced"))
    with suppress(ZeroDivisionError), alone.begin() as session:
        received(session)
        raise ZeroDivisionError
    with alone.read() as session:
        assert studies(session) == []
    assert at_each_sync


def test_after_a_failure_only_a_log_that_begins_anew_is_trusted(
    alone: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def fdatasync(_descriptor: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "fdatasync", fdatasync)
    with pytest.raises(NotDurable, match="Input/output error"), alone.begin() as session:
        received(session)
    monkeypatch.undo()
    log = tmp_path / "ledger.db-wal"
    assert log.stat().st_size > 0
    with alone.begin() as session:
        received(session, "1.9")
    assert log.stat().st_size == 0, "what it held is in the database, which is synced"
    with alone.begin() as session:
        assert len(studies(session)) == 2
        received(session, "1.10")
    assert log.stat().st_size > 0


def test_while_somebody_reads_a_log_that_failed_nothing_is_said_to_be_kept(
    alone: Ledger, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(write_ahead_log, "_PATIENCE_SECONDS", 0.1)
    with monkeypatch.context() as broken:
        broken.setattr(os, "fdatasync", lambda _descriptor: Path("/nowhere").stat())
        with pytest.raises(NotDurable), alone.begin() as session:
            received(session)
    with alone.read() as reading:
        assert len(studies(reading)) == 1
        with pytest.raises(NotDurable, match="others read it"), alone.begin() as session:
            received(session, "1.9")
    with alone.begin() as session:
        received(session, "1.10")


def test_another_log_under_the_same_name_is_the_one_that_is_synced(
    alone: Ledger, tmp_path: Path, at_each_sync: list[Callable[[Path], None]]
):
    log = WriteAheadLog(make_engine(alone.url))
    with alone.begin() as session:
        received(session)
    log.sync()
    alone.close()  # the last who closes a database removes its log
    assert not (tmp_path / "ledger.db-wal").exists()
    log.sync()
    with alone.begin() as session:
        received(session, "1.9")
    synced: list[tuple[str, int]] = []
    at_each_sync.append(lambda path: synced.append((path.name, path.stat().st_ino)))
    log.sync()
    assert synced == [("ledger.db-wal", (tmp_path / "ledger.db-wal").stat().st_ino)]
    log.close()


def test_a_failure_that_another_thread_met_is_everybodys(alone: Ledger, monkeypatch: pytest.MonkeyPatch):
    with monkeypatch.context() as broken:
        broken.setattr(os, "fdatasync", lambda _descriptor: Path("/nowhere").stat())
        with pytest.raises(NotDurable), alone.begin() as session:
            received(session)
    logs: list[int] = []

    def see_the_same() -> None:
        with alone.begin() as session:
            assert len(studies(session)) == 1
        logs.append(Path(f"{alone.url.database}-wal").stat().st_size)

    other = threading.Thread(target=see_the_same)
    other.start()
    other.join()
    assert logs == [0], "it said so only once the log was in the database"


def test_who_syncs_at_the_moment_of_a_failure_does_not_take_the_log_for_synced(
    alone: Ledger, monkeypatch: pytest.MonkeyPatch
):
    """The system tells one of two who sync at the same moment, and the other that all is well."""
    with alone.begin() as session:
        received(session)
    log, syncing, failed = Path(f"{alone.url.database}-wal"), threading.Event(), threading.Event()

    def fdatasync(_descriptor: int) -> None:
        if not syncing.is_set():
            syncing.set()
            failed.wait(0.5)
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    def write() -> None:
        with suppress(NotDurable), alone.begin() as session:
            received(session, "1.9")

    monkeypatch.setattr(os, "fdatasync", fdatasync)
    unlucky = threading.Thread(target=write)
    unlucky.start()
    syncing.wait()
    with alone.begin() as session:
        assert len(studies(session)) == 2
    failed.set()
    unlucky.join()
    assert log.stat().st_size == 0, "it was told so only once the log was in the database"


def test_sqlite_syncs_its_checkpoints(alone: Ledger):
    with alone.begin() as session:
        assert session.execute(text("PRAGMA synchronous")).scalar_one() == 1, "NORMAL"
