"""mammocalc reader card: the card of weights that are what their plan says."""

import json
import shutil

import pytest
import typer
from typer.testing import CliRunner

from mammography.reader.commands import register
from mammography.reader.plan import CARD_FILE, NETWORK_FILE
from mammography.reader.weights_folder import SHIPPED_WEIGHTS, open_weights


@pytest.fixture
def answer_to():
    """A function that runs mammocalc reader card with further words."""
    app = typer.Typer()
    app.command("other")(lambda: None)
    register(app)
    return lambda *words: CliRunner().invoke(app, ["reader", "card", *words])


@pytest.fixture
def copy(tmp_path):
    """A copy of the shipped weights."""
    return shutil.copytree(SHIPPED_WEIGHTS, tmp_path / "weights")


def test_the_shipped_card_is_printed_with_the_checksums_of_its_files(answer_to):
    answer = answer_to()
    assert answer.exit_code == 0
    assert answer.stdout.startswith((SHIPPED_WEIGHTS / CARD_FILE).read_text().rstrip())
    for name, digest in open_weights(SHIPPED_WEIGHTS).plan.files.items():
        assert f"{digest}  {name}" in answer.stdout


def test_card_and_thresholds_are_given_as_json(answer_to, copy):
    told = json.loads(answer_to("--weights", str(copy), "--json").stdout)
    plan = open_weights(SHIPPED_WEIGHTS).plan
    assert told["folder"] == str(copy)
    assert told["operating_points"] == plan.operating_points
    assert told["files"] == plan.files
    assert told["card"] == (SHIPPED_WEIGHTS / CARD_FILE).read_text()


def test_weights_that_were_changed_have_no_card(answer_to, copy):
    (copy / NETWORK_FILE).write_bytes((copy / NETWORK_FILE).read_bytes() + b" ")
    answer = answer_to("--weights", str(copy))
    assert answer.exit_code == 2
    assert "is not the one that plan.json was made for" in answer.stderr
    assert not answer.stdout


def test_a_folder_without_card_is_named(answer_to, copy):
    (copy / CARD_FILE).unlink()
    answer = answer_to("--weights", str(copy))
    assert answer.exit_code == 2
    assert f"{copy} holds no card.md" in answer.stderr
