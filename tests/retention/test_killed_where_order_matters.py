"""Retention and reception die by SIGKILL between ledger and file: the next start puts right what is left."""

import os
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from mammography.ledger.alarms import AlarmKind, alarms
from mammography.ledger.engine import Ledger
from mammography.ledger.studies import refusals
from node.commitment_provider import judge_commitment
from node.reception import Announcement, _name
from node.repair import MOST_ORPHANS, SETTLED_AFTER, Repair
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


def die_while_deleting(store: Store, url: str, *, files: int) -> None:
    program = [sys.executable, "-m", "tests.retention.a_dying_process", str(store.data_dir), url]
    died = subprocess.run(
        [*program, (RECEIVED + AGE).isoformat(), str(files)], capture_output=True, check=False, timeout=60
    )
    assert died.returncode == -signal.SIGKILL, died.stderr.decode()


def orphan(store: Store, name: str) -> Path:
    """What a receiver leaves that is killed between the name and the row."""
    image = mammogram(name)
    arrival = store.reception.begin(
        Announcement(
            sop_class_uid=FOR_PRESENTATION,
            sop_instance_uid=str(image.SOPInstanceUID),
            transfer_syntax_uid="1.2.840.10008.1.2.1",
            calling_ae_title="MODALITY7",
        )
    )
    arrival.write(encoded(image))
    arrival.seal()
    store.folder(name).mkdir(parents=True, exist_ok=True)
    path = _name(arrival, store.folder(name))
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


def test_more_files_without_rows_than_a_power_cut_leaves_are_not_touched(store: Store):
    """The ledger was restored from a backup, or is another one: these may be promised images."""
    paths = [orphan(store, f"unknown-{number}") for number in range(3)]
    assert MOST_ORPHANS > 3
    repair(store, most_orphans=2)
    assert all(path.exists() for path in paths)
    with store.ledger.read() as session:
        (alarm,) = alarms(session)
    assert alarm.kind == AlarmKind.FILES_WITHOUT_ROW
    assert alarm.sentence.startswith("3 files below studies/ are unknown")


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
