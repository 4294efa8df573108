"""mammocalc evaluate --data: a reader beside what annotators marked, on a small made-up copy of INbreast."""

import json

import numpy as np
import pytest
from pydicom import dcmread
from typer.testing import CliRunner

from lab.datasets import Split
from lab.datasets.case import DatasetKind, patient_hash, split_by_patient
from lab.evaluation.dataset import DatasetImage, MarkedLesion, cases_of, observe
from lab.evaluation.dataset_figures import dataset_figures, told_of_dataset
from mammography.command_line import command_line
from mammography.reader.weights_folder import SHIPPED_WEIGHTS, open_weights
from mammography.view import Laterality
from tests.datasets.layouts import INBREAST_COLUMNS, inbreast_contours, inbreast_image, table

PATIENT = next(
    name
    for name in map(str, range(100))
    if split_by_patient(patient_hash(DatasetKind.INBREAST, name)) is Split.TEST
)


@pytest.fixture(scope="module")
def inbreast(easy_scene, tmp_path_factory):
    """One image with every speck marked, the same image without a mark, and one that is damaged."""
    root = tmp_path_factory.mktemp("inbreast")
    points = [("Calcification", [tuple(speck.center)]) for speck in easy_scene.specks]
    lines = [["removed", "removed", "L", "CC", "201001", number, "2", "2"] for number in (1, 2, 3)]
    table(root / "INbreast.csv", INBREAST_COLUMNS, *lines, delimiter=";")
    for number in (1, 2, 3):
        path = inbreast_image(root, number, PATIENT, "L", "CC", easy_scene.pixels)
        header = dcmread(path)
        header.ImagerPixelSpacing = [easy_scene.spacing_mm] * 2
        header.save_as(path)
        if number == 3:
            path.write_bytes(path.read_bytes()[:5000])
    inbreast_contours(root, 1, *points)
    (root / "AllXML").mkdir(exist_ok=True)
    return root


@pytest.fixture(scope="module")
def seen(inbreast):
    """What the shipped reader finds there."""
    skipped, cases = cases_of(DatasetKind.INBREAST, inbreast, Split.TEST)
    return [*skipped, *observe(cases, open_weights(SHIPPED_WEIGHTS))]


def test_a_group_of_marked_calcifications_is_found_where_it_was_marked(seen, easy_scene):
    marked, _ = (image for image in seen if isinstance(image, DatasetImage))
    (lesion,) = marked.lesions
    assert lesion.detection is not None
    assert lesion.detection >= open_weights(SHIPPED_WEIGHTS).plan.detection_score
    assert lesion.detection not in marked.false_marks
    assert len(marked.specks) == len(easy_scene.specks)
    assert np.mean([score > 0.2 for score in marked.specks]) > 0.5


def test_the_same_group_is_a_false_mark_where_annotators_marked_nothing(seen):
    marked, unmarked = (image for image in seen if isinstance(image, DatasetImage))
    assert not unmarked.lesions
    assert unmarked.clear
    assert marked.lesions[0].detection in unmarked.false_marks
    assert len(unmarked.false_specks) > len(marked.false_specks)


def test_a_damaged_image_is_named_and_stops_nothing(seen):
    (sentence,) = (image for image in seen if isinstance(image, str))
    assert "3_" in sentence


def test_the_command_tells_the_figures_of_a_data_set(inbreast):
    words = ["evaluate", "--data", f"inbreast={inbreast}", "--json"]
    answer = CliRunner().invoke(command_line(), words)
    assert answer.exit_code == 0, answer.output
    figures = json.loads(answer.stdout)["figures"]
    assert (figures["images"], figures["clear"], figures["lesions"]) == (2, 2, 1)
    assert figures["lesions_at"]["0.5"]["value"] == 1.0
    assert sum(figures["skipped"].values()) == 1
    assert figures["calcified"]["positive"] == figures["calcified"]["negative"] == 1


def test_the_command_says_what_a_data_set_is():
    answer = CliRunner().invoke(command_line(), ["evaluate", "--data", "mine"])
    assert answer.exit_code == 2
    assert "KIND=FOLDER" in answer.stderr


def test_a_folder_that_is_no_data_set_is_named(tmp_path):
    answer = CliRunner().invoke(command_line(), ["evaluate", "--data", f"inbreast={tmp_path}"])
    assert answer.exit_code == 2
    assert str(tmp_path) in answer.stderr.replace("\n", "")


def test_figures_of_a_hand_made_data_set():
    lesion = MarkedLesion(detection=0.9, suspicion=0.8, malignant=True)
    missed = MarkedLesion(detection=None, suspicion=None, malignant=None)
    images = [
        _image("a", lesions=(lesion,), clear=False, suspicion=0.8, malignant=True, calcified=True),
        _image("b", lesions=(missed,), false_marks=(0.7,), suspicion=0.3, malignant=False, calcified=True),
        _image("c", false_marks=(), highest=0.1, malignant=None, calcified=False),
    ]
    plan = open_weights(SHIPPED_WEIGHTS).plan.model_copy(update={"operating_points": {"standard": 0.5}})
    figures = dataset_figures(DatasetKind.VINDR, Split.TEST, ["The file x is damaged.", *images], plan)
    assert (figures.patients, figures.images, figures.clear, figures.lesions) == (3, 3, 2, 2)
    sensitivity, false_marks = figures.reached["standard"]
    assert (sensitivity.value, false_marks) == (0.5, 0.5)
    assert figures.lesions_at["0.25"].value == 0.5
    assert figures.malignant.area.value == 1.0
    assert (figures.calcified.positive, figures.calcified.negative) == (2, 1)
    text = told_of_dataset(figures, "mammocalc evaluate --data vindr=here")
    assert text.startswith(
        "`mammocalc evaluate --data vindr=here`: 3 images of 3 patients, the test split of"
    )
    assert "1: 1 x The file x is damaged." in text


def _image(
    patient, *, lesions=(), false_marks=(), clear=True, highest=0.5, suspicion=0.0, malignant, calcified
):
    return DatasetImage(
        patient=patient,
        laterality=Laterality.LEFT,
        reason=None,
        clear=clear,
        lesions=lesions,
        false_marks=false_marks,
        specks=(),
        false_specks=(),
        highest=highest,
        suspicion=suspicion,
        calcified=calcified,
        malignant=malignant,
    )
