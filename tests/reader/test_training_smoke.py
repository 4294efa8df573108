"""The whole of mammocalc train in small: lessons drawn and cut, steps, report, second stage, thresholds, weights."""

import json

import numpy as np
import pytest
import torch
from pydicom import dcmread
from typer.testing import CliRunner

from lab.datasets import DatasetKind
from lab.training.checkpoint import CHECKPOINT_FILE, course_of
from lab.training.mixing import DONE_FILE, MANIFEST_FILE, cut_lessons
from lab.training.scenes import first_plan
from mammography.command_line import command_line
from mammography.reader.plan import CARD_FILE, read_plan
from mammography.reader.reader import Reader
from mammography.reader.weights_folder import SHIPPED_WEIGHTS, trainable_network
from tests.datasets.layouts import INBREAST_COLUMNS, inbreast_contours, inbreast_image, table
from tests.datasets.test_lessons import LEARNED

RUN = CliRunner()


@pytest.fixture
def inbreast(tmp_path, easy_scene):
    """An INbreast of one image, every speck marked."""
    root = tmp_path / "INbreast"
    path = inbreast_image(root, 1, LEARNED, "L", "CC", easy_scene.pixels)
    header = dcmread(path)
    header.ImagerPixelSpacing = [easy_scene.spacing_mm] * 2
    header.save_as(path)
    specks = [("Calcification", [tuple(speck.center)]) for speck in easy_scene.specks]
    inbreast_contours(root, 1, *specks)
    table(
        root / "INbreast.csv",
        INBREAST_COLUMNS,
        ["removed", "removed", "L", "CC", "201001", 1, "2", "4a"],
        delimiter=";",
    )
    return root


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_whole_path_leaves_weights_that_read(tmp_path, inbreast, easy_scene):
    out = tmp_path / "weights"
    answer = RUN.invoke(
        command_line(), ["train", "--smoke", "--out", str(out), "--data", f"inbreast={inbreast}"]
    )
    assert answer.exit_code == 0, answer.output
    plan = read_plan(out)
    assert plan.trained_on == "Synthetic images (phantom) and inbreast. Not for clinical use."
    assert plan.trained_on in (out / CARD_FILE).read_text()
    assert "inbreast" in (out / "report.html").read_text()
    assert course_of(out / CHECKPOINT_FILE)[1].steps == 10
    shipped, taught = (trainable_network(folder).state_dict() for folder in (SHIPPED_WEIGHTS, out))
    moved = [float((taught[name] - value).abs().max()) for name, value in shipped.items() if "weight" in name]
    assert 0 < max(moved) < 1
    assert Reader.load(out).plan == plan
    assert not list((out / "lessons").glob("*.npz"))
    manifest = (out / "lessons" / "inbreast" / MANIFEST_FILE).read_text().splitlines()
    assert len(manifest) == 1
    assert json.loads(manifest[0])


def test_a_data_set_is_cut_once(tmp_path, inbreast):
    plan = first_plan()
    first = list(cut_lessons(DatasetKind.INBREAST, inbreast, plan, tmp_path))
    assert first
    assert sum(len(np.load(path)["specks"]) for path in first) > 0
    written = [path.stat().st_mtime_ns for path in first]
    again = list(cut_lessons(DatasetKind.INBREAST, inbreast, plan, tmp_path))
    assert (first, written) == (again, [path.stat().st_mtime_ns for path in again])
    (tmp_path / "inbreast" / DONE_FILE).unlink()
    assert list(cut_lessons(DatasetKind.INBREAST, inbreast, plan, tmp_path)) == first
    assert written != [path.stat().st_mtime_ns for path in first]


@pytest.mark.parametrize("value", ["inbreast", "other=folder"])
def test_a_data_set_is_asked_for_by_kind_and_folder(tmp_path, value):
    answer = RUN.invoke(command_line(), ["train", "--out", str(tmp_path), "--data", value])
    assert answer.exit_code == 2
    assert "KIND=FOLDER" in answer.stderr.replace("\n", "")


def test_a_folder_that_is_not_the_data_set_is_refused_before_anything_is_drawn(tmp_path):
    answer = RUN.invoke(
        command_line(),
        ["train", "--out", str(tmp_path / "out"), "--data", f"inbreast={tmp_path / 'nothing'}"],
    )
    assert answer.exit_code == 2
    assert "There is no folder" in answer.stderr.replace("\n", "")


def test_weights_to_begin_with_have_to_be_weights(tmp_path):
    answer = RUN.invoke(command_line(), ["train", "--out", str(tmp_path / "out"), "--from", str(tmp_path)])
    assert answer.exit_code == 2
    assert "holds no plan.json" in answer.stderr.replace("\n", "")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_refused(tmp_path):
    answer = RUN.invoke(command_line(), ["train", "--out", str(tmp_path / "out"), "--device", "cuda"])
    assert answer.exit_code == 2
    assert "torch sees no GPU here" in answer.stderr
