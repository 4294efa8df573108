"""A node's store with studies that are answered, on each kind of database."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from pydicom.dataset import Dataset

from mammography.ledger.engine import Ledger
from mammography.ledger.studies import history_of, instances_of, study
from mammography.ledger.tables import HistoryRow, InstanceRow, StudyRow
from mammography.study import StudyEvent, StudyState
from node.reception import Reception
from node.retention import Retention, answered_states
from tests.ledger.given import claimed, move
from tests.reception.keeping import keep
from tests.reception.mammograms import screening_set, uid

RECEIVED = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
AGE = timedelta(days=30)
MINUTE = timedelta(minutes=1)
STEPS = {
    StudyState.RECEIVING: StudyEvent.JUDGED_COMPLETE,
    StudyState.READING: StudyEvent.ASSESSED,
    StudyState.READ: StudyEvent.COMPOSED,
    StudyState.REPORTED: StudyEvent.ALL_DELIVERED,
    StudyState.DELIVERED: StudyEvent.ALL_COMMITTED,
}


@dataclass
class Store:
    """What the node keeps: its ledger, its data folder, and the reception that fills both."""

    ledger: Ledger
    data_dir: Path
    reception: Reception

    def take(self, image: Dataset, *, now: datetime = RECEIVED, sender: str = "MODALITY1") -> None:
        keep(self.reception, image, now=now, calling_ae_title=sender)

    def take_set(self, name: str, *, now: datetime = RECEIVED) -> None:
        for image in screening_set(name):
            self.take(image, now=now)

    def bring_to(self, name: str, wanted: StudyState, *, now: datetime = RECEIVED) -> None:
        """Take a study that is RECEIVING on, by the steps of its life."""
        with self.ledger.begin() as session:
            if wanted is StudyState.UNREADABLE:
                move(session, StudyState.RECEIVING, StudyEvent.JUDGED_UNREADABLE, study=uid(name), now=now)
                return
            while (seen := self.row_in(session, name).state) is not wanted:
                if seen is StudyState.QUEUED:
                    claimed(session, uid(name), now=now)
                elif seen is StudyState.READING and wanted is StudyState.FAILED:
                    move(session, seen, StudyEvent.GAVE_UP, study=uid(name), now=now)
                else:
                    move(session, seen, STEPS[seen], study=uid(name), now=now)

    def answered(self, name: str, *, now: datetime = RECEIVED) -> None:
        """A screening set that was received, and answered at once."""
        self.take_set(name, now=now)
        self.bring_to(name, StudyState.COMMITTED, now=now)

    @staticmethod
    def row_in(session: object, name: str) -> StudyRow:
        return study(session, uid(name))

    def row(self, name: str) -> StudyRow:
        with self.ledger.read() as session:
            return self.row_in(session, name)

    def instances(self, name: str) -> list[InstanceRow]:
        with self.ledger.read() as session:
            return instances_of(session, uid(name))

    def history(self, name: str) -> list[HistoryRow]:
        with self.ledger.read() as session:
            return history_of(session, uid(name))

    def folder(self, name: str) -> Path:
        return self.data_dir / "studies" / uid(name) / "images"

    def files(self, name: str) -> list[str]:
        return sorted(path.name for path in self.folder(name).iterdir())

    def retention(self, *, age: timedelta | None = AGE, commitment: bool = True) -> Retention:
        return Retention(
            ledger=self.ledger,
            data_dir=self.data_dir,
            age=age,
            states=answered_states(commitment=commitment),
        )

    def deleted(self, name: str, *, now: datetime = RECEIVED + AGE) -> None:
        """A study that was answered and whose images retention has deleted."""
        self.answered(name)
        assert self.retention().sweep(now=now) == 1
        assert self.files(name) == []


@pytest.fixture
def store(ledger: Ledger, tmp_path: Path) -> Iterator[Store]:
    data_dir = tmp_path / "data"
    reception = Reception(ledger=ledger, data_dir=data_dir, minimum_free_bytes=0)
    yield Store(ledger, data_dir, reception)
    reception.close()
