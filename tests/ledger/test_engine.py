"""What the ledger promises of its database."""

import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from mammography.ledger import engine
from mammography.ledger.engine import Ledger
from mammography.ledger.schema import upgrade
from mammography.ledger.sqlite_writer import NestedTransaction
from mammography.ledger.studies import instances_of, studies
from mammography.ledger.url import UnsupportedLedger
from tests.ledger.given import STUDY, received


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    url = f"sqlite:///{tmp_path}/a folder/that is new/ledger.db"
    upgrade(url)
    return url


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("mysql://x/y", "lives in"),
        ("postgresql://x/y", "lives in"),
        ("a folder", "lives in"),
        ("sqlite://", "needs a file"),
        ("sqlite:///", "needs a file"),
        ("sqlite:///:memory:", "needs a file"),
        ("sqlite:///file::memory:?uri=true", "needs a file"),
        ("sqlite:///file:ledger?mode=memory&uri=true", "needs a file"),
        ("sqlite://var/ledger.db", "three slashes"),
        ("postgresql+psycopg://mammocalc@db:abc/mammocalc", "no number"),
        ("postgresql+psycopg://mammocalc@db:/mammocalc", "no number"),
        ("postgresql+psycopg://mammocalc@db:0/mammocalc", "from 1 to 65535"),
        ("postgresql+psycopg://mammocalc@db:65536/mammocalc", "from 1 to 65535"),
    ],
)
@pytest.mark.parametrize("opened", [Ledger, upgrade])
def test_a_database_that_cannot_hold_a_ledger_is_refused(
    opened: Callable[[str], object], url: str, told: str
) -> None:
    with pytest.raises(UnsupportedLedger, match=told):
        opened(url)


def test_a_ledger_may_be_in_any_folder(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/dr:memory:x/ledger.db"
    upgrade(url)
    Ledger(url).close()


def test_sqlite_writes_a_log_and_keeps_its_foreign_keys(sqlite_url: str) -> None:
    ledger = Ledger(sqlite_url)
    asked = ["journal_mode", "foreign_keys", "busy_timeout"]
    for transaction, waits in ((ledger.begin, 0), (ledger.read, 60_000)):
        with transaction() as session:
            answers = {name: session.execute(text(f"PRAGMA {name}")).scalar_one() for name in asked}
        assert answers == {"journal_mode": "wal", "foreign_keys": 1, "busy_timeout": waits}
    ledger.close()


def test_who_writes_waits_for_another_process(sqlite_url: str) -> None:
    ledger, another = Ledger(sqlite_url), Ledger(sqlite_url)
    begun = threading.Event()

    def write() -> None:
        begun.set()
        with another.begin() as session:
            assert len(studies(session)) == 1

    with ledger.begin() as session:
        received(session)
        waiting = threading.Thread(target=write)
        waiting.start()
        begun.wait()
        time.sleep(0.1)
        assert waiting.is_alive()
    waiting.join()
    another.close()
    ledger.close()


def test_who_writes_gives_up_after_its_patience_and_may_try_again(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "BUSY_TIMEOUT", timedelta(seconds=0.1))
    ledger, another = Ledger(sqlite_url), Ledger(sqlite_url)
    with ledger.begin() as session:
        received(session)
        with pytest.raises(OperationalError, match="database is locked"), another.begin():
            pytest.fail("two write at once")
    with another.begin() as session:
        assert len(studies(session)) == 1
    another.close()
    ledger.close()


def test_a_transaction_within_a_transaction_is_refused_and_not_waited_for(sqlite_url: str) -> None:
    ledger = Ledger(sqlite_url)
    with ledger.begin() as session:
        with pytest.raises(NestedTransaction), ledger.begin():
            pass
        received(session)
    with ledger.begin() as session:
        assert len(studies(session)) == 1
    ledger.close()


def test_who_reads_waits_for_no_writer(ledger: Ledger) -> None:
    with ledger.begin() as session:
        received(session)
    with ledger.begin() as writing:
        received(writing, "1.9")
        started = time.monotonic()
        with ledger.read() as reading:
            assert [row.study_instance_uid for row in studies(reading)] == [STUDY]
        assert time.monotonic() - started < 1


def test_writers_that_read_first_queue_and_none_fails(ledger: Ledger) -> None:
    with ledger.begin() as session:
        received(session)
    start = threading.Barrier(8)

    def read_then_write(number: int) -> None:
        start.wait()
        for turn in range(5):
            with ledger.begin() as session:
                studies(session)
                received(session, f"1.{number + 1}.{turn + 1}", images=1)

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(read_then_write, range(8)))
    with ledger.read() as session:
        assert len(studies(session)) == 41


def test_a_commit_survives_the_death_of_its_process(ledger: Ledger) -> None:
    url = ledger.url.render_as_string(hide_password=False)
    code = f"""
import os, signal
from mammography.ledger.engine import Ledger
from tests.ledger.given import received
with Ledger({url!r}).begin() as session:
    received(session)
ledger = Ledger({url!r})
with ledger.begin() as session:
    received(session, "1.9")
    session.flush()
    os.kill(os.getpid(), signal.SIGKILL)
"""
    subprocess.run([sys.executable, "-c", code], check=False, cwd=Path(__file__).parents[2])
    with ledger.begin() as session:
        assert [row.study_instance_uid for row in studies(session)] == [STUDY]
        assert len(instances_of(session, STUDY)) == 4
