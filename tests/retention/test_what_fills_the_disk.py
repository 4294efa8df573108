"""What the data folder holds, what is free, and what retention frees when: for a person, a machine, Prometheus."""

import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner

from mammography.command_line import command_line
from mammography.study import StudyState
from node.console.measures import Measures
from node.disk import MINIMUM_FREE_BYTES
from node.journal import FILE_BYTES
from tests.reception.mammograms import mammogram
from tests.retention.conftest import Store

DAY = timedelta(days=1)


@pytest.fixture
def settings(store: Store, ledger_url: str, tmp_path: Path) -> Path:
    """A store with a study that arrives, one that was answered yesterday and one whose images are due."""
    now = datetime.now(UTC)
    store.take_set("arrives", now=now)
    store.answered("yesterday", now=now - DAY)
    store.take(mammogram("due"), now=now - 31 * DAY)
    store.bring_to("due", StudyState.UNREADABLE, now=now - 31 * DAY)
    results = store.folder("due").parent / "results" / "r1"
    results.mkdir(parents=True)
    (results / "cad-sr.dcm").write_bytes(bytes(1000))
    (store.data_dir / "quarantine" / "x.dcm").write_bytes(bytes(77))
    file = tmp_path / "mammocalc.toml"
    file.write_text(f'[node]\ndata_dir = "{store.data_dir}"\n[ledger]\nurl = "{ledger_url}"\n')
    return file


def size_of(store: Store, name: str) -> int:
    return sum(row.bytes for row in store.instances(name))


def asked(*words: str) -> str:
    said = CliRunner().invoke(command_line(), ["disk", *words])
    assert said.exit_code == 0, said.output
    return said.output


def test_a_machine_is_told_every_figure(store: Store, settings: Path):
    said = json.loads(asked("--json", "--config", str(settings)))
    assert said["images"] == {
        "receiving": {"files": 4, "bytes": size_of(store, "arrives")},
        "committed": {"files": 4, "bytes": size_of(store, "yesterday")},
        "unreadable": {"files": 1, "bytes": size_of(store, "due")},
    }
    assert said["results"] == {"files": 1, "bytes": 1000}
    assert said["quarantine"] == {"files": 1, "bytes": 77}
    assert said["incoming"] == {"files": 0, "bytes": 0}
    assert said["journal"] == {"files": 1, "bytes": FILE_BYTES}
    assert said["refused_below_bytes"] == MINIMUM_FREE_BYTES
    assert 0 < said["free_bytes"] < said["total_bytes"]
    within = said["retention"]["frees_within_days"]
    due = {"files": 1, "bytes": size_of(store, "due")}
    assert [within["0"], within["1"], within["7"]] == [due, due, due]
    assert within["30"] == {"files": 5, "bytes": due["bytes"] + size_of(store, "yesterday")}
    assert datetime.fromisoformat(said["retention"]["next_at"]) < datetime.now(UTC)


def test_a_person_is_told_in_words(settings: Path):
    said = asked("--config", str(settings))
    assert "below 1.1 GB no instance is accepted (A700H)" in said
    assert "images of studies that are committed" in said
    assert "images of studies that are reading" not in said
    assert re.search(r"^journal of small images +1 +16\.8 MB$", said, re.MULTILINE)
    assert "within 30 days: 5 images, " in said
    assert "30 days after their answer is where it belongs" in said
    assert "now: 1 image, " in said


def test_what_is_never_deleted_is_said(settings: Path):
    settings.write_text(settings.read_text() + '[retention]\nimages = "never"\n')
    assert 'images = "never"' in asked("--config", str(settings))
    assert json.loads(asked("--json", "--config", str(settings)))["retention"] is None


def test_what_was_deleted_holds_nothing(store: Store, settings: Path):
    assert store.retention().sweep(now=datetime.now(UTC)) == 1
    assert "unreadable" not in json.loads(asked("--json", "--config", str(settings)))["images"]


def test_where_there_is_no_data_folder_a_person_is_told(store: Store, settings: Path):
    settings.write_text(settings.read_text().replace(str(store.data_dir), "/nowhere"))
    said = CliRunner().invoke(command_line(), ["disk", "--config", str(settings)])
    assert said.exit_code == 2
    assert "There is no data folder" in said.output


def test_prometheus_is_told(store: Store, settings: Path):
    lines = Measures(ledger=store.ledger, data_dir=store.data_dir).metrics().body.decode().splitlines()
    assert f'mammocalc_images_kept_bytes{{state="committed"}} {float(size_of(store, "yesterday"))}' in lines
    assert 'mammocalc_images_kept_bytes{state="failed"} 0.0' in lines
    assert any(line.startswith("mammocalc_disk_free_bytes ") for line in lines)
    assert any(line.startswith("mammocalc_disk_refused_below_bytes ") for line in lines)
