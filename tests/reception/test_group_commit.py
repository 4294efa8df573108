"""What comes together is synced and committed together, and each hears of its own outcome."""

import errno
import fcntl
import os
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import create_engine, event, text
from sqlalchemy.exc import DBAPIError

from mammography.ledger.engine import Ledger
from mammography.ledger.schema import upgrade
from mammography.ledger.studies import instances_of
from node.dimse_status import StorageExhausted
from node.group_commit import Abandoned, GroupCommit
from node.reception import Reception
from node.survival import Survives
from tests.reception.keeping import keep
from tests.reception.mammograms import mammogram, uid
from tests.servers import PostgresServer


def submitted(group: GroupCommit[int, int], items: Sequence[int]) -> dict[int, int | Exception]:
    """What each of these threads was given, all started at once."""
    outcomes: dict[int, int | Exception] = {}

    def submit(item: int) -> None:
        try:
            (outcomes[item],) = group.submit([item])
        except ZeroDivisionError as failure:
            outcomes[item] = failure

    threads = [threading.Thread(target=submit, args=(item,)) for item in items]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
        assert not thread.is_alive()
    return outcomes


def test_those_who_come_while_others_are_worked_for_are_one_group():
    groups: list[int] = []

    def work(items: Sequence[int]) -> list[int]:
        groups.append(len(items))
        time.sleep(0.2)
        return [item * item for item in items]

    assert submitted(GroupCommit(work), range(20)) == {item: item * item for item in range(20)}
    assert len(groups) <= 4
    assert sum(groups) == 20


def test_an_outcome_that_is_an_exception_is_raised_for_its_own_alone():
    def work(items: Sequence[int]) -> list[int | Exception]:
        time.sleep(0.05)
        return [ValueError(item) if item % 2 else item for item in items]

    outcomes = submitted(GroupCommit(work), range(10))
    assert [isinstance(outcomes[item], ValueError) for item in range(10)] == [False, True] * 5


def test_work_that_fails_leaves_nobody_waiting():
    def work(items: Sequence[int]) -> list[int]:
        time.sleep(0.05)
        return [1 // item for item in items]

    group = GroupCommit(work)
    outcomes = submitted(group, [0, 0, 0, 0])
    assert isinstance(outcomes[0], Abandoned | ZeroDivisionError)
    assert submitted(group, [1]) == {1: 1}


SMALL, LARGE = 8, 300
"""The side of a mammogram that is kept in the journal first, and of one that is not."""


def store(reception: Reception, study: str, number: int, *, side: int = SMALL) -> None:
    image = mammogram(study, SOPInstanceUID=uid(study, str(number)), side=side)
    keep(reception, image)


def test_many_associations_need_fewer_commits_than_instances(ledger: Ledger, tmp_path: Path):
    reception = Reception(ledger=ledger, data_dir=tmp_path / "data", minimum_free_bytes=0)
    commits: list[object] = []
    event.listen(ledger._engine, "commit", commits.append)
    threads = [
        threading.Thread(target=lambda study=f"group-{n}": [store(reception, study, i) for i in range(8)])
        for n in range(12)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    reception.close()
    assert len(list((tmp_path / "data").rglob("*.dcm"))) == 96
    assert len(commits) < 60


@pytest.mark.parametrize("side", [SMALL, LARGE])
@pytest.mark.parametrize("survives", ["power-cut", "kill"])
def test_the_one_setting_decides_whether_anything_is_synced(
    ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, survives: str, side: int
):
    synced: list[str] = []

    def note(name: str, real: Callable[..., int], descriptor: int, *arguments: object) -> int:
        file = Path(f"/proc/self/fd/{descriptor}").readlink()
        if file.is_relative_to(tmp_path / "data"):  # the ledger is its own affair
            synced.append(name)
        if name == "pwrite":
            assert fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_DSYNC
        return real(descriptor, *arguments)

    for name in ("fdatasync", "fsync", "pwrite"):
        monkeypatch.setattr(os, name, partial(note, name, getattr(os, name)))
    reception = Reception(
        ledger=ledger, data_dir=tmp_path / "data", minimum_free_bytes=0, survives=Survives(survives)
    )
    store(reception, "sync", 1, side=side)
    store(reception, "sync", 2, side=side)
    if survives == "kill":
        assert not synced
    elif side == LARGE:
        assert synced.count("fdatasync") == 2, "each file"
        assert synced.count("fsync") >= 5, "studies, study and images once; images for each group"
    else:
        assert synced.count("pwrite") >= 3, "the first page of the journal, and each file"
        assert synced.count("fdatasync") == 0
    reception.close()


def test_a_ledger_that_the_disk_does_not_take_is_said_and_the_retry_succeeds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    url = f"sqlite:///{tmp_path}/ledger.db"
    upgrade(url)
    reception = Reception(ledger=Ledger(url), data_dir=tmp_path / "data", minimum_free_bytes=0)
    real = os.fdatasync

    def fdatasync(descriptor: int) -> None:
        if Path(f"/proc/self/fd/{descriptor}").readlink().name.endswith("-wal"):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        real(descriptor)

    with monkeypatch.context() as broken:
        broken.setattr(os, "fdatasync", fdatasync)
        with pytest.raises(StorageExhausted, match="ledger cannot be written now"):
            store(reception, "broken", 1, side=LARGE)
    store(reception, "broken", 1, side=LARGE)
    (kept,) = (tmp_path / "data" / "studies").rglob("*.dcm")
    assert kept.stem == uid("broken", "1")
    reception.close()


def test_a_journal_that_the_disk_does_not_take_is_said_and_the_retry_succeeds(
    ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    reception = Reception(ledger=ledger, data_dir=tmp_path / "data", minimum_free_bytes=0)

    def pwrite(*_arguments: object) -> int:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as broken:
        broken.setattr(os, "pwrite", pwrite)
        with pytest.raises(StorageExhausted, match="The disk does not take it"):
            store(reception, "broken", 1)
    with ledger.read() as session:
        assert not instances_of(session, uid("broken"))
    store(reception, "broken", 1)
    (kept,) = (tmp_path / "data" / "studies").rglob("*.dcm")
    assert kept.stem == uid("broken", "1")
    reception.close()


def nothing(_reception: Reception, _file: Path) -> None:
    """Change nothing."""


def lose_the_file(_reception: Reception, file: Path) -> None:
    file.unlink()


def leave_no_room(reception: Reception, _file: Path) -> None:
    reception._acceptance._journal._free.clear()
    reception._acceptance._journal._written = None


@pytest.mark.parametrize(
    ("before", "number", "expected"),
    [
        (nothing, 2, ["journal", "commit"]),
        (nothing, 1, ["incoming", "file", "images", "commit", "log"]),
        (lose_the_file, 1, ["journal", "commit", "file", "images", "log"]),
        (leave_no_room, 2, ["file", "images", "commit", "log"]),
    ],
    ids=["new", "the same again", "the same again, its file is lost", "new, no room in the journal"],
)
def test_each_small_instance_is_on_the_disk_before_it_is_answered(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    before: Callable[[Reception, Path], None],
    number: int,
    expected: list[str],
):
    """The journal is enough for what comes first; what it would not put back is synced, with the ledger's log."""
    url = f"sqlite:///{tmp_path}/ledger.db"
    upgrade(url)
    ledger = Ledger(url)
    reception = Reception(ledger=ledger, data_dir=tmp_path / "data", minimum_free_bytes=0)
    store(reception, "order", 1)
    images = tmp_path / "data" / "studies" / uid("order") / "images"
    before(reception, images / f"{uid('order', '1')}.dcm")
    done: list[str] = []
    names = {".part": "incoming", ".dcm": "file", ".db-wal": "log"}

    def note(real: Callable[..., int], descriptor: int, *arguments: object) -> int:
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        if path.is_relative_to(tmp_path):
            done.append("journal" if path.parent.name == "journal" else names.get(path.suffix, path.name))
        return real(descriptor, *arguments)

    for name in ("fdatasync", "fsync", "pwrite"):
        monkeypatch.setattr(os, name, partial(note, getattr(os, name)))
    event.listen(ledger._engine, "commit", lambda _connection: done.append("commit"))
    store(reception, "order", number)
    assert done == expected
    monkeypatch.undo()
    ledger.close()


def test_what_came_together_is_refused_for_itself(ledger: Ledger, tmp_path: Path):
    """One of a group has no name left; the others are ours."""
    reception = Reception(ledger=ledger, data_dir=tmp_path / "data", minimum_free_bytes=0)
    images = tmp_path / "data" / "studies" / uid("group") / "images"
    images.mkdir(parents=True)
    (images / f"{uid('group', '3')}.dcm").write_bytes(bytes(200))
    outcomes: dict[int, str] = {}

    def keep(number: int) -> None:
        try:
            store(reception, "group", number)
            outcomes[number] = "kept"
        except StorageExhausted as refusal:
            outcomes[number] = str(refusal)

    (images / f"{uid('group', '5')}.dcm").mkdir()
    threads = [threading.Thread(target=keep, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {number for number, outcome in outcomes.items() if outcome == "kept"} == {0, 1, 2, 3, 4, 6, 7}
    assert "The disk does not take it (Is a directory)" in outcomes[5]
    reception.close()


def test_a_study_that_another_machine_has_locked_is_a_reason_to_send_again(
    postgres_ledger_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """It lost its power within a transaction, say; PostgreSQL has not missed it yet."""
    monkeypatch.setattr("mammography.ledger.postgresql.LOCK_TIMEOUT", timedelta(seconds=0.5))
    another = create_engine(postgres_ledger_url)
    with closing(Ledger(postgres_ledger_url)) as ledger:
        reception = Reception(ledger=ledger, data_dir=tmp_path / "data", minimum_free_bytes=0)
        keep(reception, mammogram("locked"))
        with another.connect() as gone:
            gone.execute(text("SELECT * FROM study FOR UPDATE"))
            with pytest.raises(StorageExhausted):
                keep(reception, mammogram("locked", "L CC"))
            assert keep(reception, mammogram("not locked")) == uid("not locked")
            gone.rollback()
        assert keep(reception, mammogram("locked", "L CC")) == uid("locked")
        reception.close()
    another.dispose()


def test_a_database_that_hangs_is_a_reason_to_send_again(
    postgres_server: PostgresServer, postgres_ledger_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Its disk stalls, say: its machine still acknowledges what it is sent, and TCP misses nothing."""
    monkeypatch.setattr("mammography.ledger.postgresql.ANSWER_TIMEOUT", timedelta(seconds=0.5))
    monkeypatch.setattr("mammography.ledger.postgresql.CONNECT_TIMEOUT", timedelta(seconds=2))
    with closing(Ledger(postgres_ledger_url)) as ledger:
        reception = Reception(ledger=ledger, data_dir=tmp_path / "data", minimum_free_bytes=0)
        keep(reception, mammogram("hanging"))
        with postgres_server.hanging():
            began = time.monotonic()
            for view in ("L CC", "L MLO"):
                with pytest.raises(StorageExhausted):
                    keep(reception, mammogram("hanging", view))
            assert time.monotonic() - began < 10
        for view in ("L CC", "L MLO"):
            assert keep(reception, mammogram("hanging", view)) == uid("hanging")
        with ledger.read() as session:
            assert len(instances_of(session, uid("hanging"))) == 3
        reception.close()


def test_a_database_that_hangs_within_a_transaction_is_given_up(
    postgres_server: PostgresServer, postgres_ledger_url: str, monkeypatch: pytest.MonkeyPatch
):
    with closing(Ledger(postgres_ledger_url)) as ledger:
        monkeypatch.setattr("mammography.ledger.postgresql.ANSWER_TIMEOUT", timedelta(seconds=0.5))

        def ask() -> None:
            with ledger.begin() as session:
                session.execute(text("SELECT 1"))
                with postgres_server.hanging():
                    session.execute(text("SELECT 1"))

        with pytest.raises(DBAPIError, match=r"not answered within 0\.5 s") as said:
            ask()
        assert said.value.connection_invalidated
        with ledger.begin() as session:
            assert session.execute(text("SELECT 1")).scalar_one() == 1


def test_what_takes_the_database_too_long_is_given_up_there(
    postgres_ledger_url: str, monkeypatch: pytest.MonkeyPatch
):
    """Were it given up by us alone, it would keep its locks until it ended."""
    monkeypatch.setattr("mammography.ledger.postgresql.STATEMENT_TIMEOUT", timedelta(seconds=0.3))
    with closing(Ledger(postgres_ledger_url)) as ledger:
        with pytest.raises(DBAPIError, match="statement timeout") as said, ledger.begin() as session:
            session.execute(text("SELECT pg_sleep(20)"))
        assert not said.value.connection_invalidated
        with ledger.begin() as session:
            running = (
                "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep%' AND state = 'active'"
            )
            assert session.execute(text(running)).scalar_one() == 1, "itself"


def test_whoever_says_nothing_within_a_transaction_is_ended_by_the_database(
    postgres_ledger_url: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("mammography.ledger.postgresql.IDLE_TIMEOUT", timedelta(seconds=0.2))
    with closing(Ledger(postgres_ledger_url)) as ledger:

        def pause() -> None:
            with ledger.begin() as session:
                session.execute(text("SELECT 1"))
                time.sleep(1)
                session.execute(text("SELECT 1"))

        with pytest.raises(DBAPIError, match="idle-in-transaction"):
            pause()
        with ledger.begin() as session:
            assert session.execute(text("SELECT 1")).scalar_one() == 1
