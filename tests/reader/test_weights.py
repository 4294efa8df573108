"""Weights are used only with the plan that they were made for, and say what they are."""

import json
import shutil

import pytest

from mammography.reader.plan import (
    CARD_FILE,
    CLASSIFICATION_FILE,
    NETWORK_FILE,
    PLAN_FILE,
    UnusableWeights,
    read_plan,
)
from mammography.reader.reader import Reader
from mammography.reader.weights_folder import SHIPPED_WEIGHTS


@pytest.fixture
def folder(tmp_path):
    """A copy of the shipped weights."""
    return shutil.copytree(SHIPPED_WEIGHTS, tmp_path / "weights")


@pytest.mark.parametrize("name", [NETWORK_FILE, CLASSIFICATION_FILE])
def test_a_single_changed_byte_is_refused(folder, name):
    content = bytearray((folder / name).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / name).write_bytes(content)
    with pytest.raises(UnusableWeights, match=f"{name} is not the one that plan.json was made for"):
        Reader.load(folder)


@pytest.mark.parametrize("name", [NETWORK_FILE, CLASSIFICATION_FILE, PLAN_FILE])
def test_a_missing_file_is_refused_by_name(folder, name):
    (folder / name).unlink()
    with pytest.raises(UnusableWeights, match=name):
        Reader.load(folder)


def test_a_plan_with_an_unknown_entry_is_refused(folder):
    plan = json.loads((folder / PLAN_FILE).read_text())
    (folder / PLAN_FILE).write_text(json.dumps(plan | {"treshold": 0.1}))
    with pytest.raises(UnusableWeights, match="treshold"):
        Reader.load(folder)


def test_a_plan_of_another_network_is_refused(folder):
    plan = json.loads((folder / PLAN_FILE).read_text())
    (folder / PLAN_FILE).write_text(json.dumps(plan | {"widths": [8, 16, 32, 48]}))
    with pytest.raises(UnusableWeights, match="do not fit"):
        Reader.load(folder)


def test_the_shipped_reader_says_who_it_is_and_that_it_saw_only_synthetic_images(reader):
    plan = read_plan(SHIPPED_WEIGHTS)
    assert reader.identity.weights_sha256 == plan.files[NETWORK_FILE]
    assert "Synthetic images (phantom) alone" in reader.identity.trained_on
    assert reader.identity.operating_point in plan.operating_points


def test_the_card_tells_what_the_numbers_are_and_are_not():
    card = (SHIPPED_WEIGHTS / CARD_FILE).read_text()
    plan = read_plan(SHIPPED_WEIGHTS)
    assert plan.files[NETWORK_FILE][:16] in card
    assert "never a probability of cancer" in card
    assert "mammocalc evaluate --studies" in card
