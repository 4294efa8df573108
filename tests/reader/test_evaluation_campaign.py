"""mammocalc evaluate over several studies: by any number of processes, stopped and gone on with."""

import json
import multiprocessing
import shutil
import time
from dataclasses import replace

import pytest
from typer.testing import CliRunner

from lab.evaluation.campaign import RESULTS_FILE, Campaign, OtherMeasurement, kept_results, measure
from lab.evaluation.commands import _command
from lab.phantom.condition import Condition
from mammography.command_line import command_line
from mammography.reader.plan import CARD_FILE
from mammography.reader.weights_folder import SHIPPED_WEIGHTS

CAMPAIGN = Campaign(first=3, studies=2, weights=SHIPPED_WEIGHTS, rows=640, columns=512)
OPTIONS = ["--studies", "2", "--seed", "3", "--rows", "640", "--columns", "512"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder in which two processes measured two studies."""
    out = tmp_path_factory.mktemp("evaluation")
    weights = shutil.copytree(SHIPPED_WEIGHTS, out / "weights")
    words = ["evaluate", *OPTIONS, "--jobs", "2", "--out", str(out), "--weights", str(weights), "--card"]
    answer = CliRunner().invoke(command_line(), words)
    assert answer.exit_code == 0, answer.output
    assert "8 synthetic images of 2 studies" in answer.stdout
    return out


def test_a_measurement_leaves_report_figures_and_results(folder):
    assert "<svg" in (folder / "report.html").read_text()
    assert json.loads((folder / "figures.json").read_text())["figures"]["images"] == 8
    header, *lines = (folder / RESULTS_FILE).read_text().splitlines()
    assert json.loads(header)["condition"] == "usual"
    assert sorted(json.loads(line)["study"] for line in lines) == [3, 4]
    card = (folder / "weights" / CARD_FILE).read_text()
    assert "8 synthetic images of 2 studies" in card.partition("## Measured")[2]


@pytest.mark.slow
def test_a_measurement_that_was_killed_goes_on_and_comes_to_the_same_records(folder, tmp_path):
    whole = {record.study: record for record in kept_results(CAMPAIGN, folder)}
    header, first, second = (folder / RESULTS_FILE).read_text().splitlines()
    (tmp_path / "pictures").mkdir()
    (tmp_path / RESULTS_FILE).write_text(f"{header}\n{first}\n{second[: len(second) // 2]}")
    again = {record.study: record for record in measure(CAMPAIGN, jobs=1, out=tmp_path)}
    assert again.keys() == whole.keys()
    for study, record in again.items():
        assert replace(record, seconds=0.0) == replace(whole[study], seconds=0.0)
    assert {record.study for record in kept_results(CAMPAIGN, tmp_path)} == {3, 4}


def test_whoever_stops_waiting_leaves_no_process_behind(tmp_path):
    before = set(multiprocessing.active_children())
    steps = measure(replace(CAMPAIGN, studies=50), jobs=1, out=tmp_path)
    assert next(steps).study == CAMPAIGN.first
    (process,) = set(multiprocessing.active_children()) - before
    steps.close()
    until = time.monotonic() + 20
    while (
        process.is_alive() and time.monotonic() < until
    ):  # the pool waits for it too, and may know before we do
        time.sleep(0.05)
    assert not process.is_alive()
    assert [record.study for record in kept_results(CAMPAIGN, tmp_path)] == [CAMPAIGN.first]


def test_results_of_another_measurement_are_not_mixed_in(folder):
    other = replace(CAMPAIGN, condition=Condition.NORMAL)
    with pytest.raises(OtherMeasurement, match=r"another measurement \(other condition\): give --out"):
        kept_results(other, folder)


def test_the_command_names_the_folder_that_holds_another_measurement(folder):
    answer = CliRunner().invoke(command_line(), ["evaluate", *OPTIONS, "--easy", "--out", str(folder)])
    assert answer.exit_code == 2
    assert "holds another measurement (other easy)" in answer.stderr


def test_the_command_that_the_card_keeps_lacks_what_changes_no_figure():
    words = ["evaluate", "--seed", "3", "--jobs", "2", "--out=here", "--card", "--out", "a b", "--easy"]
    assert _command(words) == "mammocalc evaluate --seed 3 --easy"
