"""The data folder that the worker and the node share."""

from pathlib import Path

import pytest

from mammography.ledger.engine import Ledger
from mammography.ledger.studies import instances_of, studies


class DataFolder:
    """A folder that holds a file for every image that the ledger knows; the reader of these tests opens none."""

    def __init__(self, path: Path, ledger: Ledger) -> None:
        self.path = path
        self._ledger = ledger

    def fill(self) -> None:
        """Put the missing files in place."""
        with self._ledger.read() as session:
            paths = [
                row.path
                for each in studies(session)
                for row in instances_of(session, each.study_instance_uid)
            ]
        for path in paths:
            (self.path / path).parent.mkdir(parents=True, exist_ok=True)
            (self.path / path).touch()


@pytest.fixture
def data_folder(tmp_path: Path, ledger: Ledger) -> DataFolder:
    return DataFolder(tmp_path / "var", ledger)
