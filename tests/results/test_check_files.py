"""mammocalc check: objects as files, with their images and without."""

import json
from io import BytesIO
from pathlib import Path

import pydicom
import pytest
import typer
from pydicom.dataset import Dataset
from typer.testing import CliRunner

from mammography.results import codes, commands
from mammography.results.check_files import judge
from mammography.results.compose import compose
from mammography.results.composed import ComposedObject, Predecessor
from mammography.results.written_report import WrittenReport
from tests.results.mammograms import (
    READ_AT,
    STUDY,
    TWO_VIEWS,
    answered,
    assessment,
    header_of,
    reading,
    screening_images,
    written,
)

IMAGES = screening_images()
HEADERS = [header_of(each) for each in IMAGES]


@pytest.fixture
def objects() -> list[Dataset]:
    return [read_back(each) for each in answered(IMAGES)]


def read_back(item: ComposedObject) -> Dataset:
    return pydicom.dcmread(BytesIO(item.encode()))


def second_answer(predecessor: Dataset) -> list[Dataset]:
    readings = (reading(h, *f) for h, f in zip(HEADERS, TWO_VIEWS, strict=True))
    later = assessment(*readings)
    objects = compose(
        headers=HEADERS,
        assessment=type(later)(reader=later.reader, read_at=READ_AT.replace(hour=20), images=later.images),
        study_instance_uid=STUDY,
        revision=2,
        predecessor=Predecessor.of(predecessor),
    )
    return [read_back(each) for each in objects]


def first(report: Dataset, concept: codes.Code) -> Dataset:
    return next(item for _, item in WrittenReport(report).called(concept))


def mark_of(state: Dataset) -> Dataset:
    return state.GraphicAnnotationSequence[0].GraphicObjectSequence[0]


def faults(datasets: list[Dataset]) -> list[str]:
    return [fault for answer in judge(datasets) for fault in answer.faults]


def test_objects_with_all_their_images_are_checked_whole(objects):
    (answer,) = judge([*objects, *HEADERS])
    assert (answer.faults, answer.unchecked) == ((), ())
    assert (answer.study_instance_uid, len(answer.objects), answer.replaced_by) == (STUDY, 5, None)


def test_objects_without_images_are_checked_against_each_other_and_say_what_was_not(objects):
    (answer,) = judge(objects)
    assert answer.faults == ()
    assert sum("window and polarity are not compared" in each for each in answer.unchecked) == 4
    assert "No image is given: patient and study are compared among the objects alone." in answer.unchecked


def test_of_some_images_only_the_missing_ones_are_unchecked(objects):
    (answer,) = judge([*objects, *HEADERS[1:]])
    assert answer.faults == ()
    (said,) = answer.unchecked
    assert str(HEADERS[0].SOPInstanceUID) in said


@pytest.mark.parametrize("kind", [slice(0, 1), slice(1, 5)], ids=["report", "states"])
def test_one_kind_of_objects_can_be_checked_alone(objects, kind):
    (answer,) = judge(objects[kind])
    assert answer.faults == ()


def test_a_coordinate_off_an_image_that_is_not_given_is_still_found(objects):
    first(objects[0], codes.CENTER).GraphicData = [161.0, 80.0]
    mark_of(objects[1]).GraphicData = [46, 68, 74, 69, 161, 92, 47, 92, 46, 68]
    said = faults(objects)
    assert any("The centre of finding 1.3.8.2 leaves the image" in each for each in said)
    assert any("a graphic leaves the image" in each for each in said)
    assert any("a graphic leaves the image" in each for each in faults(objects[1:]))


def test_another_patient_among_objects_without_images_is_found(objects):
    objects[2].PatientID = "P2"
    assert any(f"PatientID of object {objects[2].SOPInstanceUID}" in each for each in faults(objects))


def test_another_patient_than_the_images_is_found(objects):
    for each in objects:
        each.PatientName = "Doe^Joan"
    assert faults(objects) == []
    assert sum("PatientName of object" in each for each in faults([*objects, HEADERS[0]])) == len(objects)


def test_the_window_is_compared_with_the_image_that_is_given(objects):
    objects[1].SoftcopyVOILUTSequence[0].WindowWidth = "400"
    assert faults(objects) == []
    assert any("the VOI is not the image's" in each for each in faults([*objects, *HEADERS]))


def test_a_late_image_that_no_object_is_about_is_no_fault(objects):
    late = header_of(IMAGES[0])
    late.SOPInstanceUID = f"{STUDY}.1"
    assert faults([*objects, *HEADERS, late]) == []


def test_two_revisions_are_two_answers_of_which_the_earlier_is_replaced(objects):
    later = second_answer(objects[0])
    answers = judge([*later, *objects, *HEADERS])
    assert [each.faults for each in answers] == [(), ()]
    assert [each.replaced_by for each in answers] == [str(later[0].SOPInstanceUID), None]


def test_marks_of_the_revision_before_do_not_pass_for_those_of_this_one(objects):
    later = second_answer(objects[0])
    stale = objects[1]
    stale.InstanceCreationTime = later[1].InstanceCreationTime
    said = faults([later[0], stale, *later[2:], *HEADERS])
    assert "Report and presentation states do not mark the same lesions." in said


def test_an_object_too_damaged_to_follow_is_a_fault_and_not_a_crash(objects):
    del first(objects[0], codes.SINGLE_IMAGE_FINDING).ConceptCodeSequence
    del objects[1].ReferencedSeriesSequence[0].SeriesInstanceUID
    said = faults(objects)
    assert any("lacks its value" in each for each in said)
    assert any("lacks what every such object has" in each for each in said)


@pytest.fixture
def folder(tmp_path, objects) -> Path:
    for number, each in enumerate(objects):
        each.save_as(tmp_path / f"object-{number}.dcm", enforce_file_format=True)
    for number, each in enumerate(IMAGES):
        (tmp_path / f"image-{number}.dcm").write_bytes(written(each))
    (tmp_path / "report.txt").write_text("No DICOM.")
    return tmp_path


def mammocalc_check(*words: object):
    app = typer.Typer()
    app.callback()(lambda: None)
    commands.register(app)
    return CliRunner().invoke(app, ["check", *map(str, words)])


def test_the_command_ends_with_0_where_all_is_well(folder):
    shown = mammocalc_check(folder)
    assert (shown.exit_code, shown.stderr) == (0, "")
    assert shown.stdout == f"Study {STUDY}: 1 CAD report, 4 presentation states\nNo fault found.\n"


def test_the_command_ends_with_1_and_names_the_file_of_a_fault(folder):
    damaged = folder / "object-1.dcm"
    state = pydicom.dcmread(damaged)
    mark_of(state).NumberOfGraphicPoints = 3
    state.save_as(damaged)
    shown = mammocalc_check(folder)
    assert shown.exit_code == 1
    (line,) = [line for line in shown.stdout.splitlines() if "fault: " in line]
    assert "a graphic states another number of points than it has." in line
    assert line.endswith(f"({damaged})")
    assert shown.stdout.endswith("1 fault found.\n")


def test_the_command_says_what_it_could_not_check(folder):
    shown = mammocalc_check(folder / "object-0.dcm", folder / "object-1.dcm", folder / "image-0.dcm")
    assert "not checked: The image" in shown.stdout
    assert shown.exit_code == 1
    assert "There is not one presentation state for each image that was read." in shown.stdout


def test_the_command_tells_machines_as_much_as_people(folder):
    shown = mammocalc_check(folder, "--json")
    (answer,) = json.loads(shown.stdout)
    assert answer == {
        "study_instance_uid": STUDY,
        "files": [str(folder / f"object-{number}.dcm") for number in range(5)],
        "replaced_by": None,
        "faults": [],
        "unchecked": [],
    }


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("missing.dcm", "There is no file or folder"),
        ("report.txt", "cannot be read as DICOM"),
        ("image-0.dcm", "No file is a CAD report, presentation state, measurement report or picture."),
    ],
)
def test_the_command_ends_with_2_where_nothing_can_be_checked(folder, name, sentence):
    shown = mammocalc_check(folder / name)
    assert (shown.exit_code, shown.stdout) == (2, "")
    assert sentence in shown.stderr
    assert len(shown.stderr.splitlines()) == 1
