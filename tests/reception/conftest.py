"""A node that listens, with its ledger and its store."""

import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from mammography.ledger.engine import Ledger
from mammography.ledger.schema import upgrade
from mammography.ledger.studies import history_of, instances_of, refusals
from mammography.ledger.tables import HistoryRow, InstanceRow, RefusalRow
from node.association import Acceptor
from node.commitment import PUSH_MODEL, CommitmentReport, takes_reports
from node.hall import Offer
from node.reception import Reception
from node.wire.command_set import CommandField
from tests.reception.mammograms import uid


@dataclass
class ListeningNode:
    """A node whose doors are open."""

    ledger: Ledger
    data_dir: Path
    database: Path
    acceptor: Acceptor | None = None
    reception: Reception | None = None
    touched: list[str] = field(default_factory=list)
    reports: list[CommitmentReport] = field(default_factory=list)
    somebody_touched: threading.Event = field(default_factory=threading.Event)

    @property
    def port(self) -> int:
        return self.acceptor.port

    def listen(self, *, on_study_touched: Callable[[str], None] | None = None, **changes: Any) -> None:
        self.reception = Reception(
            ledger=self.ledger,
            data_dir=self.data_dir,
            minimum_free_bytes=changes.pop("minimum_free_bytes", 0),
        )
        offered = {
            "store": self.reception,
            "operations": {(CommandField.N_EVENT_REPORT, PUSH_MODEL): takes_reports(self.reports.append)},
        }
        offered |= {name: changes.pop(name) for name in ("operations", "storage_classes") if name in changes}
        self.acceptor = Acceptor(
            **(
                {
                    "ae_title": "MAMMOCALC",
                    "host": "127.0.0.1",
                    "port": 0,
                    "offer": Offer(**offered),
                    "on_study_touched": on_study_touched or self._touch,
                }
                | changes
            )
        )
        self.acceptor.start()

    def stop(self) -> None:
        """Stop whichever acceptor listens now."""
        self.acceptor.stop()

    def _touch(self, study_instance_uid: str) -> None:
        self.touched.append(study_instance_uid)
        self.somebody_touched.set()

    def instances(self, study: str) -> list[InstanceRow]:
        with self.ledger.read() as session:
            return instances_of(session, uid(study))

    def history(self, study: str) -> list[HistoryRow]:
        with self.ledger.read() as session:
            return history_of(session, uid(study))

    def refusals(self) -> list[RefusalRow]:
        with self.ledger.read() as session:
            return refusals(session)

    def path_in_second_connection(self, sop_instance_uid: str) -> str | None:
        """The row's path, as a stranger to this process sees it at this moment."""
        with closing(sqlite3.connect(f"file:{self.database}?mode=ro", uri=True)) as connection:
            row = connection.execute(
                "SELECT path FROM instance WHERE sop_instance_uid = ?", (sop_instance_uid,)
            ).fetchone()
        return row and row[0]

    def incoming(self) -> list[Path]:
        return list((self.data_dir / "incoming").iterdir())

    def stored(self, study: str) -> list[str]:
        return sorted(path.name for path in (self.data_dir / "studies" / uid(study) / "images").iterdir())


@pytest.fixture
def make_node(tmp_path: Path) -> Iterator[Callable[..., ListeningNode]]:
    with ExitStack() as running:

        def make(**changes: Any) -> ListeningNode:
            database = tmp_path / "ledger.db"
            upgrade(f"sqlite:///{database}")
            ledger = Ledger(f"sqlite:///{database}")
            running.callback(ledger.close)
            node = ListeningNode(ledger=ledger, data_dir=tmp_path / "data", database=database)
            node.listen(**changes)
            running.callback(node.reception.close)
            running.callback(node.stop)
            return node

        yield make


@pytest.fixture
def node(make_node: Callable[..., ListeningNode]) -> ListeningNode:
    return make_node()
