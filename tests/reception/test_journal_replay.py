"""What a power cut takes of small instances is put back from the journal, and nothing else is."""

import errno
import json
import os
from collections.abc import Callable, Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from pydicom.dataset import Dataset
from sqlalchemy import delete
from sqlalchemy.exc import IntegrityError, OperationalError
from structlog.testing import capture_logs

from mammography.ledger.alarms import AlarmKind, alarms
from mammography.ledger.engine import Ledger
from mammography.ledger.studies import ArrivedInstance, history_of, instances_of, study
from mammography.ledger.tables import HistoryRow, InstanceRow, StudyRow
from mammography.ledger.transaction import Transaction
from mammography.study import StudyState
from node import journal_replay
from node.journal import Journal, NewEntry, entries_of
from node.journal_replay import replay_journals
from node.reception import Reception
from node.repair import Repair
from tests.reception.keeping import keep
from tests.reception.mammograms import encoded, mammogram, uid
from tests.servers import wait_for

NOW = datetime(2026, 11, 28, 9, 0, tzinfo=UTC)
STUDY = "cut"


def image_of(number: int, **values: str) -> Dataset:
    return mammogram(STUDY, SOPInstanceUID=uid(STUDY, str(number)), **values)


class Cut:
    """A receiver that took small images of one study in, and then lost its power."""

    def __init__(self, ledger: Ledger, data_dir: Path) -> None:
        self.ledger, self.data_dir, self.now = ledger, data_dir, NOW
        self.reception = Reception(ledger=ledger, data_dir=data_dir, minimum_free_bytes=0)
        self.images = data_dir / "studies" / uid(STUDY) / "images"

    def store(self, *images: Dataset) -> None:
        for image in images:
            self.now += timedelta(seconds=1)
            keep(self.reception, image, now=self.now)

    def path(self, number: int) -> Path:
        return self.images / f"{uid(STUDY, str(number))}.dcm"

    def end(self) -> None:
        """End the process: what holds its name is dropped, as the system does."""
        os.close(self.reception._presence._lock)

    def forget_rows(self) -> None:
        with self.ledger.begin() as session:
            for table in (HistoryRow, InstanceRow, StudyRow):
                session.execute(delete(table))

    def rows(self) -> dict[str, InstanceRow]:
        with self.ledger.read() as session:
            return {row.sop_instance_uid: row for row in instances_of(session, uid(STUDY))}

    def journals(self) -> list[Path]:
        return sorted((self.data_dir / "journal").iterdir())


@pytest.fixture
def cut(ledger: Ledger, tmp_path: Path) -> Cut:
    return Cut(ledger, tmp_path / "data")


def lose(path: Path) -> None:
    path.unlink()


def cut_short(path: Path) -> None:
    os.truncate(path, 200)


def empty(path: Path) -> None:
    size = path.stat().st_size
    path.write_bytes(bytes(size))


@pytest.mark.parametrize("rows_too", [False, True], ids=["files", "files and rows"])
@pytest.mark.parametrize("damage", [lose, cut_short, empty])
def test_what_the_power_cut_took_is_there_again(cut: Cut, damage: Callable[[Path], None], rows_too: bool):
    cut.store(*map(image_of, range(5)))
    before, contents = cut.rows(), [cut.path(number).read_bytes() for number in range(5)]
    damage(cut.path(1))
    damage(cut.path(3))
    if rows_too:
        cut.forget_rows()
    cut.end()
    assert replay_journals(cut.ledger, cut.data_dir) == 5
    assert [cut.path(number).read_bytes() for number in range(5)] == contents
    assert sorted(cut.images.iterdir()) == sorted(map(cut.path, range(5)))
    after = cut.rows()
    assert after.keys() == before.keys()
    for name in (column.name for column in InstanceRow.__table__.columns):
        assert [getattr(after[uid], name) for uid in before] == [
            getattr(row, name) for row in before.values()
        ]
    with cut.ledger.read() as session:
        assert study(session, uid(STUDY)).state is StudyState.RECEIVING
        assert len(history_of(session, uid(STUDY))) == 5
    assert not cut.journals()
    assert replay_journals(cut.ledger, cut.data_dir) == 0


def test_the_folder_of_a_study_may_be_gone(cut: Cut):
    cut.store(image_of(1))
    content = cut.path(1).read_bytes()
    cut.forget_rows()
    cut.path(1).unlink()
    for folder in (cut.images, cut.images.parent, cut.images.parent.parent):
        folder.rmdir()
    cut.end()
    assert replay_journals(cut.ledger, cut.data_dir) == 1
    assert cut.path(1).read_bytes() == content


def test_a_process_that_lives_keeps_its_journal(cut: Cut):
    cut.store(image_of(1))
    cut.path(1).unlink()
    assert replay_journals(cut.ledger, cut.data_dir) == 0
    assert not cut.path(1).exists()
    assert cut.journals()
    cut.reception.close()
    assert not cut.journals()


def test_what_retention_deleted_stays_deleted(cut: Cut):
    cut.store(image_of(1))
    with cut.ledger.begin() as session:
        session.get_one(InstanceRow, image_of(1).SOPInstanceUID).deleted_at = NOW
    cut.path(1).unlink()
    cut.end()
    replay_journals(cut.ledger, cut.data_dir)
    assert not cut.path(1).exists()
    assert not cut.journals()


def test_other_bytes_that_took_a_name_which_was_free_do_not_come_back_under_it(cut: Cut):
    first, other = image_of(1), image_of(1, PatientID="other")
    cut.store(first, first)  # the second time its digest is taken
    cut.path(1).unlink()
    cut.store(other)
    (beside,) = cut.images.iterdir()
    assert "conflict" in beside.name
    cut.end()
    replay_journals(cut.ledger, cut.data_dir)
    (kept,) = (path for path in cut.images.iterdir() if path != beside)
    assert kept == cut.path(1)
    assert kept.read_bytes().endswith(encoded(first)), "it stood in the journal, too"


def test_what_came_under_a_name_that_was_taken_is_in_no_journal(cut: Cut):
    """It is on the disk before it is answered: nobody has to guess from a journal what it was."""
    first, other = image_of(1), image_of(1, PatientID="other")
    cut.store(first, first, other)
    (journal,) = cut.journals()
    assert len(list(entries_of(journal))) == 1


def rewrite(cut: Cut, **changes: object) -> None:
    """Put another journal into the place of the one that there is, in which an entry says something else."""
    (path,) = cut.journals()
    (entry,) = entries_of(path)
    told = {name: each for name, each in (json.loads(entry.told) | changes).items() if each is not None}
    path.unlink()
    journal = Journal(path.parent, path.name.partition("-")[0], settle=lambda: None)
    with journal.holding([NewEntry(json.dumps(told).encode(), [entry.part10])]):
        pass


def test_an_entry_of_another_release_is_understood(cut: Cut):
    cut.store(image_of(1))
    content = cut.path(1).read_bytes()
    cut.forget_rows()
    cut.path(1).unlink()
    rewrite(cut, colour="blue", accession_number=None)
    cut.end()
    assert replay_journals(cut.ledger, cut.data_dir) == 1
    assert cut.path(1).read_bytes() == content
    with cut.ledger.read() as session:
        assert study(session, uid(STUDY)).accession_number == ""


@pytest.mark.parametrize(
    "changes",
    [
        {"path": "../elsewhere.dcm"},
        {"path": "studies/1/images/2.dcm"},
        {"sop_instance_uid": "../../x", "path": f"studies/{uid(STUDY)}/images/../../x.dcm"},
        {"received_at": "yesterday"},
        {"bytes": 1 << 40},
        {"series_instance_uid": None},
    ],
)
def test_an_entry_that_is_none_of_ours_writes_nothing_and_is_kept(cut: Cut, changes: dict[str, object]):
    cut.store(image_of(1))
    cut.path(1).unlink()
    rewrite(cut, **changes)
    cut.end()
    files = sorted(cut.data_dir.parent.rglob("*.dcm"))
    replay_journals(cut.ledger, cut.data_dir)
    assert sorted(cut.data_dir.parent.rglob("*.dcm")) == files
    assert cut.journals()


def test_a_disk_that_takes_no_file_leaves_the_journal_for_the_next_start(cut: Cut):
    cut.store(image_of(1))
    content = cut.path(1).read_bytes()
    cut.path(1).unlink()
    cut.path(1).mkdir()
    cut.end()
    replay_journals(cut.ledger, cut.data_dir)
    assert cut.journals()
    cut.path(1).rmdir()
    replay_journals(cut.ledger, cut.data_dir)
    assert cut.path(1).read_bytes() == content
    assert not cut.journals()


def test_a_file_is_put_into_its_place_whole(cut: Cut, tmp_path: Path):
    """Who reads the old one meanwhile reads it to its end."""
    cut.store(image_of(1))
    cut_short(cut.path(1))
    os.link(cut.path(1), tmp_path / "somebody-reads-it")
    cut.end()
    replay_journals(cut.ledger, cut.data_dir)
    assert (tmp_path / "somebody-reads-it").stat().st_size == 200
    assert cut.path(1).stat().st_size > 200


def test_a_journal_is_removed_only_once_everything_is_settled(cut: Cut, monkeypatch: pytest.MonkeyPatch):
    cut.store(image_of(1))
    cut.end()
    with monkeypatch.context() as broken:
        broken.setattr("node.settlement.sync_file_system", fail)
        replay_journals(cut.ledger, cut.data_dir)
    assert cut.journals()
    replay_journals(cut.ledger, cut.data_dir)
    assert not cut.journals()


def fail(_descriptor: int) -> None:
    raise OSError(errno.EIO, os.strerror(errno.EIO))


def test_a_settled_journal_has_nothing_to_replay(cut: Cut):
    """A receiver that is killed long after its last instance leaves files without entries."""
    cut.store(image_of(1))
    journal = cut.reception._acceptance._journal
    with journal._changed:
        journal._hand_over()
    with closing(cut.reception):
        wait_for(lambda: not list(entries_of(cut.journals()[0])), seconds=20, what="the settlement")


def test_what_came_under_its_name_since_stays(cut: Cut):
    """The ledger was away when the receiver started anew: the journal is replayed later."""
    first, other = image_of(1), image_of(1, PatientID="4712")
    assert len(encoded(first)) == len(encoded(other))
    cut.store(first)
    cut.path(1).unlink()
    cut.forget_rows()
    cut.end()
    again = Cut(cut.ledger, cut.data_dir)
    again.now = cut.now
    again.store(other)
    again.reception.close()
    replay_journals(cut.ledger, cut.data_dir)
    assert cut.path(1).read_bytes().endswith(encoded(other))
    assert not cut.journals()


def test_a_ledger_that_is_away_leaves_the_journal_for_the_next_time(cut: Cut, tmp_path: Path):
    cut.store(image_of(1))
    cut.path(1).unlink()
    cut.end()
    away = Ledger(f"sqlite:///{tmp_path}/without-tables.db")
    replay_journals(away, cut.data_dir)
    assert cut.journals()
    away.close()
    assert replay_journals(cut.ledger, cut.data_dir) == 1
    assert cut.path(1).exists()


def test_what_a_journal_still_holds_is_not_taken_for_lost(cut: Cut, monkeypatch: pytest.MonkeyPatch):
    """After a power cut the database is there a moment later than the node."""
    cut.store(image_of(1))
    empty(cut.path(1))
    cut.end()
    repair = Repair(ledger=cut.ledger, data_dir=cut.data_dir)

    def refuse(*_: object, **__: object) -> object:
        raise OperationalError("BEGIN", None, ConnectionRefusedError("the server starts"))

    with monkeypatch.context() as away:
        for name in ("transaction", "begin", "read"):
            away.setattr(Ledger, name, refuse)
        with capture_logs() as lines:
            for seconds in (0, 10, 20):
                assert repair.sweep(now=cut.now + timedelta(seconds=seconds)) == 0
        assert [line["event"] for line in lines] == ["journal-not-replayed"], "not again at once"
    assert len(cut.journals()) == 1
    for seconds in range(31, 600, 10):
        repair.sweep(now=cut.now + timedelta(seconds=seconds))
    assert cut.path(1).stat().st_size > 0
    assert not cut.journals()
    with cut.ledger.read() as session:
        assert not alarms(session)


def test_a_journal_that_can_never_be_replayed_does_not_keep_the_rest_from_being_compared(cut: Cut):
    cut.store(image_of(1))
    cut.path(1).unlink()
    rewrite(cut, study_instance_uid="no UID")
    cut.end()
    repair, began = Repair(ledger=cut.ledger, data_dir=cut.data_dir), cut.now
    for minutes in range(59):
        assert repair.sweep(now=began + timedelta(minutes=minutes)) == 0
    for minutes in range(60, 90):
        repair.sweep(now=began + timedelta(minutes=minutes))
    with cut.ledger.read() as session:
        assert [row.kind for row in alarms(session)] == [AlarmKind.IMAGE_LOST]
    assert len(cut.journals()) == 1


def test_an_entry_that_the_database_does_not_take_is_left_out_alone(
    cut: Cut, monkeypatch: pytest.MonkeyPatch
):
    cut.store(*map(image_of, range(4)))
    for number in range(4):
        cut.path(number).unlink()
    cut.forget_rows()
    cut.end()
    real = journal_replay.record_instances

    def refuse(transaction: Transaction, instances: Sequence[ArrivedInstance], **others: object) -> object:
        if image_of(2).SOPInstanceUID in {each.sop_instance_uid for each in instances}:
            raise IntegrityError("", {}, Exception("spoilt"))
        return real(transaction, instances, **others)

    monkeypatch.setattr(journal_replay, "record_instances", refuse)
    replay_journals(cut.ledger, cut.data_dir)
    assert cut.rows().keys() == {image_of(number).SOPInstanceUID for number in (0, 1, 3)}
    assert not cut.journals()
