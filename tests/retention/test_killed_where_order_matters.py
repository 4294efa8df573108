"""Retention and reception die by SIGKILL between ledger and file: the next start puts right what is left."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import xxhash

from mammography.ledger.alarms import AlarmKind, alarms
from mammography.ledger.engine import Ledger
from mammography.ledger.retention import give_up_images, remember_digests
from mammography.ledger.studies import refusals
from mammography.study import StudyState
from node.arrival import Arrival
from node.commitment_provider import judge_commitment
from node.data_set_digest import data_set_digest
from node.image_folders import ImageFolders
from node.part10 import holds
from node.repair import AGAIN_AFTER, MOST_ORPHANS, SETTLED_AFTER, Repair
from node.retention import answered_states, remove_deleted
from tests.reception.keeping import arrived
from tests.reception.mammograms import FOR_PRESENTATION, encoded, mammogram, screening_set, uid
from tests.retention.conftest import AGE, RECEIVED, Store

MINUTE = timedelta(minutes=1)


def repair(store: Store, **changes: int) -> datetime:
    """Start a node's repair and let it come to its end; return when that was."""
    after_all = datetime.now(UTC) + timedelta(seconds=5)
    work = Repair(ledger=store.ledger, data_dir=store.data_dir, **changes)
    while work.sweep(now=after_all):
        pass
    while work.sweep(now=after_all + SETTLED_AFTER):
        pass
    assert work.sweep(now=after_all + 2 * SETTLED_AFTER) == 0
    return after_all + SETTLED_AFTER


def test_what_stands_in_a_journal_is_put_back_before_anybody_calls_it_lost(store: Store):
    """The repair may be in another process, and begin before the receiver does."""
    store.take_set("cut")
    os.close(store.reception._presence._lock)  # as the system does when the receiver ends
    for path in store.folder("cut").iterdir():
        path.unlink()
    repair(store)
    assert len(store.files("cut")) == 4
    with store.ledger.read() as session:
        assert not alarms(session)
    assert not list((store.data_dir / "journal").iterdir())


def die_while_deleting(store: Store, url: str, *, files: int) -> None:
    program = [sys.executable, "-m", "tests.retention.a_dying_process", str(store.data_dir), url]
    died = subprocess.run(
        [*program, (RECEIVED + AGE).isoformat(), str(files)], capture_output=True, check=False, timeout=60
    )
    assert died.returncode == -signal.SIGKILL, died.stderr.decode()


def orphan(store: Store, name: str) -> Path:
    """What a receiver leaves that is killed between the name and the row."""
    image = mammogram(name)
    arrival = arrived(store.reception, image, calling_ae_title="MODALITY7")
    arrival.seal()
    path = ImageFolders(store.data_dir, sync=True).name(arrival, uid(name))
    arrival.discard()
    return path


@pytest.mark.parametrize("files", [0, 2])
def test_retention_that_dies_leaves_no_promise_and_the_next_start_no_file(
    store: Store, ledger_url: str, files: int
):
    store.answered("dies")
    die_while_deleting(store, ledger_url, files=files)
    assert len(store.files("dies")) == 4 - files
    references = [(FOR_PRESENTATION, str(image.SOPInstanceUID)) for image in screening_set("dies")]
    rows = {row.sop_instance_uid: row for row in store.instances("dies")}
    assert not judge_commitment("1.2.3", references, rows, store.data_dir).committed
    repair(store)
    assert store.files("dies") == []
    with store.ledger.read() as session:
        assert not alarms(session)
        assert not refusals(session)


def test_what_is_sent_again_to_retention_that_died_is_kept(store: Store, ledger_url: str):
    store.answered("back")
    die_while_deleting(store, ledger_url, files=2)
    store.take_set("back", now=RECEIVED + AGE + MINUTE)
    repair(store)
    assert len(store.files("back")) == 4
    assert {row.deleted_at for row in store.instances("back")} == {None}


def test_other_content_that_is_sent_to_retention_that_died_leaves_nothing_for_ever(
    store: Store, ledger_url: str
):
    """The old file is still there, so that the new content is kept beside it; both go in the end."""
    store.take(mammogram("both"))
    store.bring_to("both", StudyState.COMMITTED)
    die_while_deleting(store, ledger_url, files=0)
    again = RECEIVED + AGE + MINUTE
    corrected = mammogram("both", PatientID="corrected")
    store.take(corrected, now=again)
    assert len(store.files("both")) == 2
    (row,) = store.instances("both")
    assert data_set_digest(store.data_dir / row.path) == xxhash.xxh3_128(encoded(corrected)).hexdigest()
    store.bring_to("both", StudyState.COMMITTED, now=again)
    assert store.retention().sweep(now=again + AGE) == 1
    assert store.files("both") == []


def test_a_file_without_a_row_goes_into_the_quarantine_with_its_reason(store: Store):
    store.take_set("whole")
    path = orphan(store, "orphan")
    content = path.read_bytes()
    repair(store)
    assert not path.exists()
    assert len(store.files("whole")) == 4
    with store.ledger.read() as session:
        (refusal,) = refusals(session)
    assert (refusal.calling_ae_title, refusal.sop_instance_uid) == ("MODALITY7", uid("orphan", "R CC"))
    assert "its sender was not told success" in refusal.reason
    assert (store.data_dir / refusal.path).read_bytes() == content
    store.take(mammogram("orphan"))
    assert store.files("orphan") == [path.name], "and its sender may send it again"


def test_what_another_receiver_writes_is_left_alone(store: Store):
    path = orphan(store, "in-flight")
    ahead = datetime.now(UTC).timestamp() + 60
    os.utime(path, (ahead, ahead))
    repair(store)
    assert path.exists()


def test_files_wait_until_what_was_begun_is_over(store: Store):
    path = orphan(store, "soon")
    now = datetime.now(UTC) + timedelta(seconds=5)
    work = Repair(ledger=store.ledger, data_dir=store.data_dir)
    while work.sweep(now=now + SETTLED_AFTER / 2):
        pass
    assert path.exists()


def test_what_a_killed_receiver_leaves_later_is_found_a_day_later(store: Store):
    now = datetime.now(UTC) + timedelta(seconds=5)
    work = Repair(ledger=store.ledger, data_dir=store.data_dir)
    for later in (timedelta(0), SETTLED_AFTER):
        while work.sweep(now=now + later):
            pass
    path = orphan(store, "later")
    for later in (AGAIN_AFTER / 2, AGAIN_AFTER, AGAIN_AFTER + SETTLED_AFTER):
        assert path.exists()
        while work.sweep(now=now + later):
            pass
    assert not path.exists()


@pytest.mark.parametrize("done_before", [timedelta(0), SETTLED_AFTER])
def test_a_clock_that_was_ahead_at_the_start_holds_up_no_repair(store: Store, done_before: timedelta):
    now = datetime.now(UTC) + timedelta(seconds=5)
    work = Repair(ledger=store.ledger, data_dir=store.data_dir)
    year = timedelta(days=365)
    for later in (timedelta(0), done_before):
        while work.sweep(now=now + year + later):
            pass
    path = orphan(store, "set-back")
    for later in (timedelta(0), SETTLED_AFTER):
        assert path.exists()
        while work.sweep(now=now + later):
            pass
    assert not path.exists()


def test_more_files_without_rows_than_a_power_cut_leaves_are_not_touched(store: Store):
    """The ledger was restored from a backup, or is another one: these may be promised images."""
    paths = [orphan(store, f"unknown-{number}") for number in range(3)]
    assert MOST_ORPHANS > 3
    repair(store, most_orphans=2)
    assert all(path.exists() for path in paths)
    with store.ledger.read() as session:
        (alarm,) = alarms(session)
    assert alarm.kind == AlarmKind.DATA_FOLDER
    assert alarm.sentence.startswith("3 files below studies/ are unknown")
    repair(store)
    with store.ledger.read() as session:
        assert not alarms(session), "three are what a power cut leaves"
    assert not any(path.exists() for path in paths)


def test_what_was_to_be_put_back_when_its_receiver_was_killed_is_removed(store: Store):
    store.take_set("half")
    half = store.folder("half") / "receiver-1.part"
    half.write_bytes(b"half")
    repair(store)
    assert not half.exists()
    assert len(store.files("half")) == 4


def test_half_written_results_of_a_killed_node_are_removed_and_whole_ones_stay(store: Store):
    store.answered("composing")
    results = store.folder("composing").parent / "results" / "r1"
    results.mkdir(parents=True)
    half, whole, fresh = (results / name for name in (".a.png.1.part", "a.png", ".b.png.2.part"))
    for path in (half, whole, fresh):
        path.write_bytes(b"some")
    for path in (half, whole):
        os.utime(path, (0, 0))
    os.utime(fresh, (4e9, 4e9))
    repair(store)
    assert sorted(path.name for path in results.iterdir()) == [".b.png.2.part", "a.png"]
    assert len(store.files("composing")) == 4


@pytest.mark.parametrize("damage", ["gone", "short"])
def test_a_row_without_its_whole_file_raises_an_alarm_that_a_second_sending_ends(store: Store, damage: str):
    store.take_set("lost")
    path = store.folder("lost") / f"{uid('lost', 'L CC')}.dcm"
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:100])
    repair(store)
    with store.ledger.read() as session:
        (alarm,) = alarms(session)
    assert (alarm.kind, alarm.subject) == (AlarmKind.IMAGE_LOST, uid("lost"))
    assert uid("lost") in alarm.sentence
    assert uid("lost", "L CC") in alarm.sentence
    assert uid("lost", "R CC") not in alarm.sentence
    store.take(mammogram("lost", "L CC"))
    assert path.stat().st_size > 128
    repair(store)
    with store.ledger.read() as session:
        assert not alarms(session)


def test_a_file_that_is_lost_is_put_back_before_the_same_bytes_are_acknowledged(store: Store, ledger: Ledger):
    store.take_set("put-back")
    path = store.folder("put-back") / f"{uid('put-back', 'L CC')}.dcm"
    content = path.read_bytes()
    path.unlink()
    history = len(store.history("put-back"))
    store.take(mammogram("put-back", "L CC"))
    assert path.read_bytes() == content
    assert len(store.history("put-back")) == history


@pytest.mark.parametrize(
    "damaged",
    [
        lambda content: content[:0],
        lambda content: content[:100],
        lambda content: content[:500],
        lambda content: content[:-1],
        lambda content: bytes(len(content)),
    ],
    ids=["empty", "header", "half", "last byte", "zeros"],
)
def test_a_file_that_was_damaged_is_whole_again_once_its_image_is_sent_again(
    store: Store, damaged: Callable[[bytes], bytes]
):
    """Its digest was never taken: what is left of it is not other content, makes no conflict and leaves nothing beside."""
    store.take_set("cut")
    image = mammogram("cut", "L CC")
    path = store.folder("cut") / f"{image.SOPInstanceUID}.dcm"
    content = path.read_bytes()
    path.write_bytes(damaged(content))
    store.take(image)
    assert path.read_bytes() == content
    assert len(store.files("cut")) == 4
    with store.ledger.read() as session:
        assert not alarms(session)


def test_what_is_left_of_a_deleted_image_is_not_what_it_was(store: Store):
    """Cut short before retention came: sent again, it is taken for the same, and its study is not read again."""
    store.answered("cut-and-gone")
    image = mammogram("cut-and-gone", "L CC")
    path = store.folder("cut-and-gone") / f"{image.SOPInstanceUID}.dcm"
    path.write_bytes(path.read_bytes()[:500])
    assert store.retention().sweep(now=RECEIVED + AGE) == 1
    store.take(image, now=RECEIVED + AGE + MINUTE, sender="MODALITY7")
    assert store.row("cut-and-gone").state is StudyState.COMMITTED


@pytest.mark.parametrize("was_there", [True, False])
def test_a_file_that_goes_between_its_name_and_its_row_is_put_back(
    store: Store, monkeypatch: pytest.MonkeyPatch, was_there: bool
):
    """A sender finds the file that retention is about to remove: it must not be acknowledged without one.

    What it brings is known by the file that came, whatever lies under the name.
    """
    store.answered("between")
    known = {
        one.SOPInstanceUID: xxhash.xxh3_128(encoded(one)).hexdigest() for one in screening_set("between")
    }
    with store.ledger.begin() as session:
        remember_digests(session, known)
        states = answered_states(commitment=True)
        give_up_images(session, uid("between"), states=states, until=RECEIVED, now=RECEIVED + AGE)
    named: list[Path] = []
    name = ImageFolders.name

    def name_and_lose(folders: ImageFolders, arrival: Arrival, study_instance_uid: str) -> Path:
        named.append(name(folders, arrival, study_instance_uid))
        assert remove_deleted(store.ledger, store.data_dir, uid("between")) == 4
        assert not named[0].exists()
        return named[0]

    monkeypatch.setattr(ImageFolders, "name", name_and_lose)
    image = mammogram("between", "L CC")
    if not was_there:
        (store.folder("between") / f"{image.SOPInstanceUID}.dcm").unlink()
    store.take(image, now=RECEIVED + AGE + MINUTE, sender="MODALITY7")
    assert data_set_digest(named[0]) == xxhash.xxh3_128(encoded(image)).hexdigest()
    assert store.files("between") == [named[0].name]
    assert "other content" not in store.history("between")[-1].reason
    assert [row.sop_instance_uid for row in store.instances("between") if row.deleted_at is None] == [
        str(image.SOPInstanceUID)
    ]


def test_a_sender_and_retention_at_the_same_moment_leave_no_promise_without_a_file(store: Store):
    store.answered("race")
    now = RECEIVED
    for _ in range(8):
        now += 2 * AGE
        with ThreadPoolExecutor(2) as both:
            done = [
                both.submit(store.take_set, "race", now=now),
                both.submit(store.retention().sweep, now=now),
            ]
        for each in done:
            each.result()
        for row in store.instances("race"):
            assert holds(store.data_dir / row.path, row.bytes) == (row.deleted_at is None)
