"""Lessons from annotated images ask for what is known, and for nothing else."""

import dataclasses
import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from pydicom import dcmread
from structlog.testing import capture_logs

from lab.datasets import catalogue_of, lessons_of
from lab.datasets.annotation import annotation_of
from lab.datasets.case import Case, DatasetKind, Split, patient_hash, split_by_patient
from lab.datasets.lessons import in_turn, lesson_of_annotation
from lab.datasets.pictures import open_case
from lab.datasets.windows import windows_of
from lab.phantom.anatomy import BreastPlan
from lab.phantom.lesions import plan_lesion
from lab.phantom.scene import make_scene
from lab.training.batches import CROP, Batch, draw_batch
from lab.training.lesson import read_lesson, write_lesson
from lab.training.loss import losses_of
from lab.training.run import false_peaks
from lab.training.scenes import first_plan
from mammography.coordinates import ImagePoint
from mammography.finding import Morphology
from mammography.reader.network import CELL, COARSE_CELL, Network
from mammography.reader.preprocessing import density_values, prepare
from mammography.view import Laterality, View, ViewPosition
from tests.datasets.layouts import (
    CBIS_COLUMNS,
    CMMD_COLUMNS,
    INBREAST_COLUMNS,
    VINDR_FINDING_COLUMNS,
    VINDR_IMAGE_COLUMNS,
    cbis_line,
    dicom_file,
    inbreast_contours,
    inbreast_image,
    table,
    viewed,
)

PLAN = first_plan()
LEARNED, KEPT = (
    next(
        name
        for name in map(str, range(100))
        if split_by_patient(patient_hash(DatasetKind.INBREAST, name)) is split
    )
    for split in (Split.TRAINING, Split.TEST)
)
"""Patients of INbreast whose hashes fall into training and into the test."""


@pytest.fixture(scope="module")
def scene():
    """A right breast, larger than a window, with one group of calcifications that anyone would see."""
    breast = BreastPlan(
        protrusion=0.7, height=0.46, thickness_mm=50, density=1, glandularity=0.27, nipple_mm=8
    )
    lesion = plan_lesion(Morphology.FINE_PLEOMORPHIC, 5, np.random.default_rng(5), easy=True)
    view = View(laterality=Laterality.RIGHT, position=ViewPosition.CC)
    return make_scene(
        11, view=view, rows=1664, columns=1280, spacing_mm=0.085, lesions=[lesion], breast=breast, singles=0.0
    )


@pytest.fixture(scope="module")
def corners(scene):
    """Left, top, right and bottom of a box around the group, with 3 mm around."""
    columns, rows = (
        np.array(values) for values in zip(*(speck.center for speck in scene.specks), strict=True)
    )
    return columns.min() - 35, rows.min() - 35, columns.max() + 35, rows.max() + 35


def true_places(scene):
    """Return the (row, column) of every speck in reader pixels."""
    grid = prepare(scene.pixels.astype(np.float32), spacing_mm=scene.spacing_mm, plan=PLAN).grid
    return np.array([grid.from_image(speck.center)[::-1] for speck in scene.specks])


def whole_lesson(case):
    """Return the lesson of a case before it is cut into windows."""
    image, _ = open_case(case)
    annotation = annotation_of(case, rows=image.rows, columns=image.columns, spacing_mm=image.spacing_mm)
    prepared = prepare(density_values(image), spacing_mm=image.spacing_mm, plan=PLAN)
    return lesson_of_annotation(annotation, prepared, PLAN)


def inbreast_folder(root, scene, corners, *, patient=LEARNED, clicks=0.0):
    """Write an INbreast of two images of a patient: one with every speck marked in a cluster, one without findings."""
    left, top, right, bottom = corners
    moved = np.random.default_rng(0).normal(0, clicks, (len(scene.specks), 2))
    points = [
        ("Calcification", [(speck.center.column + x, speck.center.row + y)])
        for speck, (x, y) in zip(scene.specks, moved, strict=True)
    ]
    outline = ("Cluster", [(left, top), (right, top), (right, bottom), (left, bottom)])
    for number, contours in ((1, [*points, outline]), (2, [])):
        inbreast_image(root, number, patient, "R", "CC", scene.pixels)
        if contours:
            inbreast_contours(root, number, *contours)
    lines = [["removed", "removed", "R", "CC", "201001", number, "2", "4a"] for number in (1, 2)]
    table(root / "INbreast.csv", INBREAST_COLUMNS, *lines, delimiter=";")
    for path in (root / "AllDICOMs").iterdir():
        header = dcmread(path)
        header.ImagerPixelSpacing = [scene.spacing_mm] * 2
        header.save_as(path)
    return root


def test_every_mark_is_asked_for_at_its_place_though_clicks_are_not_exact(tmp_path, scene, corners):
    root = inbreast_folder(tmp_path, scene, corners, clicks=1.0)
    lesson = whole_lesson(catalogue_of(DatasetKind.INBREAST, root).cases[0])
    true = true_places(scene)
    assert len(lesson.specks) == len(true)
    assert np.median(np.hypot(*(lesson.specks[:, :2] - true).T)) < 1.0
    centers = np.argwhere(lesson.heat == 1.0)
    assert len(centers) > 0.7 * len(true)
    for center in centers:
        assert np.hypot(*(true / CELL - 0.5 - center).T).min() < 2.5
        assert lesson.weight[tuple(center)]


def test_nothing_else_is_asked_within_a_cluster_and_nothing_may_be_found_outside(tmp_path, scene, corners):
    lesson = whole_lesson(
        catalogue_of(DatasetKind.INBREAST, inbreast_folder(tmp_path, scene, corners)).cases[0]
    )
    middle = true_places(scene).mean(0)
    rows, columns = np.indices(lesson.heat.shape) * CELL
    far = np.hypot(rows - middle[0], columns - middle[1]) > 250
    near = np.hypot(rows - middle[0], columns - middle[1]) < 20
    inside = np.kron(lesson.breast, np.ones((8 // CELL,) * 2, dtype=bool))[: far.shape[0], : far.shape[1]]
    assert lesson.weight[far & inside].mean() > 0.95
    assert not lesson.weight[near & (lesson.heat < 0.3)].any()


def test_a_mask_asks_for_something_within_it_and_for_nothing_outside(tmp_path, scene, corners):
    left, top, right, bottom = map(int, corners)
    mask = np.zeros(scene.pixels.shape, dtype=np.uint8)
    mask[top:bottom, left:right] = 255
    said = ("PLEOMORPHIC", "CLUSTERED", 4, "MALIGNANT")
    for part, stem in (("Training", "train"), ("Test", "test")):
        lines = [cbis_line("P_00001", "RIGHT", "CC", 1, *said)] if part == "Training" else []
        table(tmp_path / f"calc_case_description_{stem}_set.csv", CBIS_COLUMNS, *lines)
    dicom_file(tmp_path / "Calc-Training_P_00001_RIGHT_CC" / "1" / "2" / "1-1.dcm", scene.pixels)
    dicom_file(tmp_path / "Calc-Training_P_00001_RIGHT_CC_1" / "1" / "2" / "1-1.dcm", mask)
    case = catalogue_of(DatasetKind.CBIS_DDSM, tmp_path).cases[0]
    case = dataclasses.replace(case, spacing=dataclasses.replace(case.spacing, mm=scene.spacing_mm))
    lesson = whole_lesson(case)
    down, across = (true_places(scene) / COARSE_CELL).astype(int).T
    assert (lesson.bag[down, across] == 1).all()
    assert 0.005 < (lesson.bag > 0).mean() < 0.2
    assert lesson.heat.max() == 0
    assert not lesson.weight[2 * down, 2 * across].any()
    assert lesson.weight.mean() > 0.3


def test_crops_hold_whole_regions_and_a_region_is_missed_only_where_it_is_whole(tmp_path, scene, corners):
    boxed = whole_lesson(catalogue_of(DatasetKind.VINDR, vindr_folder(tmp_path, scene, corners)).cases[0])
    batch = draw_batch({tmp_path: boxed}, {}, crops=40, rng=np.random.default_rng(0))
    whole = [
        bool(bag.any()) and not bag[0, [0, -1]].any() and not bag[0, :, [0, -1]].any() for bag in batch.bag
    ]
    assert 12 < sum(whole) < 40
    network = Network((8, 8, 8, 8), len(PLAN.morphologies), len(PLAN.large)).eval()
    maps = network(torch.zeros(1, 2, CROP, CROP))
    silent = maps._replace(center=torch.full_like(maps.center, -5.0))
    for bag, held in zip(batch.bag, whole, strict=True):
        one = Batch(*(part[:1] for part in batch))._replace(bag=bag[None])
        missed = losses_of(silent, one, torch.ones(len(PLAN.morphologies))).bag.item()
        assert (missed > 4.9) if held else (missed == 0.0)


def test_peaks_are_mistakes_only_where_somebody_would_have_marked_them(tmp_path, scene, corners):
    boxed, clear = (
        whole_lesson(c) for c in catalogue_of(DatasetKind.VINDR, vindr_folder(tmp_path, scene, corners)).cases
    )
    torch.manual_seed(0)
    network = Network((8, 8, 8, 8), len(PLAN.morphologies), len(PLAN.large)).eval()
    with torch.no_grad():
        network.fine_head.bias[0] = 3.0  # sees specks everywhere
    assert len(false_peaks(network, boxed)) == 0
    assert len(false_peaks(network, clear)) > 10
    marked = whole_lesson(
        catalogue_of(DatasetKind.INBREAST, inbreast_folder(tmp_path / "b", scene, corners)).cases[0]
    )
    assert len(false_peaks(network, marked)) > 10


def vindr_folder(root, scene, corners):
    """Write a VinDr-Mammo of two images: one with a box, one of BI-RADS 1."""
    rows, columns = scene.pixels.shape
    images = [
        ["s1", "x", "boxed", "R", "CC", rows, columns, "BI-RADS 4", "DENSITY B", "training"],
        ["s2", "x", "clear", "R", "CC", rows, columns, "BI-RADS 1", "DENSITY B", "training"],
    ]
    finding = [*images[0][:-1], "['Suspicious Calcification']", "BI-RADS 4", *corners, "training"]
    table(root / "breast-level_annotations.csv", VINDR_IMAGE_COLUMNS, *images)
    table(root / "finding_annotations.csv", VINDR_FINDING_COLUMNS, finding)
    for study, image in (("s1", "boxed"), ("s2", "clear")):
        path = root / "images" / study / f"{image}.dicom"
        inverted = (4095 - scene.pixels).astype(np.uint16)
        dicom_file(
            path, inverted, ImagerPixelSpacing=[scene.spacing_mm] * 2, PhotometricInterpretation="MONOCHROME1"
        )
    return root


def test_a_box_in_a_breast_that_may_hold_more_says_nothing_of_what_is_outside(tmp_path, scene, corners):
    boxed, clear = (
        whole_lesson(c) for c in catalogue_of(DatasetKind.VINDR, vindr_folder(tmp_path, scene, corners)).cases
    )
    down, across = (true_places(scene) / COARSE_CELL).astype(int).T
    assert (boxed.bag[down, across] == 1).all()
    assert not boxed.weight.any()
    assert clear.weight.mean() > 0.3
    assert not clear.bag.any()
    assert len(clear.specks) == 0


def test_inverted_values_teach_the_same_as_upright_ones(tmp_path, scene, corners):
    inverted = whole_lesson(
        catalogue_of(DatasetKind.VINDR, vindr_folder(tmp_path / "a", scene, corners)).cases[0]
    )
    upright = whole_lesson(
        catalogue_of(DatasetKind.INBREAST, inbreast_folder(tmp_path / "b", scene, corners)).cases[0]
    )
    assert np.abs(inverted.image.astype(np.float32) - upright.image.astype(np.float32)).max() < 0.02


def test_a_breast_of_which_only_the_diagnosis_is_known_has_to_hold_something_somewhere(tmp_path, scene):
    names = [f"D1-{number:04d}" for number in range(100)]
    patient, other = [
        n for n in names if split_by_patient(patient_hash(DatasetKind.CMMD, n)) is Split.TRAINING
    ][:2]
    lines = [
        [patient, "R", 44, 2, "calcification", "Benign", ""],
        [other, "R", 44, 2, "mass", "Malignant", ""],
    ]
    table(tmp_path / "CMMD_clinicaldata_revision.csv", CMMD_COLUMNS, *lines)
    pixels = (scene.pixels >> 4).astype(np.uint8)
    for name in (patient, other):
        path = tmp_path / "CMMD" / name / "1" / "2" / "1-1.dcm"
        dicom_file(path, pixels, ImagerPixelSpacing=[scene.spacing_mm] * 2, **viewed("R", ViewPosition.CC))
    with capture_logs() as logs:
        lessons = list(lessons_of("cmmd", tmp_path, PLAN))
    assert logs[-1]["images"] == 1
    for lesson in lessons:
        assert (lesson.bag == 1).all()
        assert not lesson.weight.any()


def test_windows_hold_every_mark_once_where_it_was(tmp_path, scene, corners):
    lesson = whole_lesson(
        catalogue_of(DatasetKind.INBREAST, inbreast_folder(tmp_path, scene, corners)).cases[0]
    )
    windows = list(windows_of(lesson))
    assert len(windows) > 1
    assert sum(len(window.specks) for window in windows) == len(lesson.specks)
    assert sum(int((window.heat == 1).sum()) for window in windows) == int((lesson.heat == 1).sum())
    for window in windows:
        height, width = window.image.shape[1:]
        assert (height % 32, width % 32) == (0, 0)
        assert window.heat.shape == (height // CELL, width // CELL)
        assert window.morphology.shape == (height // COARSE_CELL, width // COARSE_CELL)
        for center in np.argwhere(window.heat == 1):
            assert np.hypot(*(window.specks[:, :2] / CELL - 0.5 - center).T).min() < 1


def test_lessons_survive_their_files_and_make_batches(tmp_path, scene, corners):
    root = inbreast_folder(tmp_path / "data", scene, corners)
    lessons = {}
    for number, lesson in enumerate(lessons_of("inbreast", root, PLAN)):
        path = tmp_path / f"{number}.npz"
        write_lesson(lesson, path)
        lessons[path] = read_lesson(path)
        assert np.array_equal(lessons[path].bag, lesson.bag)
    assert len(lessons) >= 4
    batch = draw_batch(lessons, {}, crops=8, rng=np.random.default_rng(0))
    assert torch.isfinite(batch.image).all()
    assert batch.heat.max() == 1.0


def test_only_the_images_of_a_split_are_used_and_each_is_noted_with_its_hash(tmp_path, scene, corners):
    inbreast_folder(tmp_path / "learned", scene, corners)
    inbreast_folder(tmp_path / "kept", scene, corners, patient=KEPT)
    manifest = tmp_path / "manifest.jsonl"
    assert list(lessons_of("inbreast", tmp_path / "kept", PLAN, manifest=manifest)) == []
    assert not manifest.exists()
    assert list(lessons_of("inbreast", tmp_path / "learned", PLAN, manifest=manifest))
    noted = [json.loads(line) for line in manifest.read_text().splitlines()]
    assert {line["split"] for line in noted} == {"training"}
    for line in noted:
        image = tmp_path / "learned" / line["image"]
        assert line["sha256"] == hashlib.sha256(image.read_bytes()).hexdigest()
        assert LEARNED not in line["patient"].split()
    assert sorted(line["marks"] for line in noted) == [0, len(scene.specks)]


def test_damaged_images_are_named_and_counted_and_stop_nothing(tmp_path, scene, corners):
    root = inbreast_folder(tmp_path, scene, corners)
    whole, cut = sorted((root / "AllDICOMs").iterdir())
    cut.write_bytes(cut.read_bytes()[:5000])
    with capture_logs() as logs:
        lessons = list(lessons_of("inbreast", root, PLAN))
    assert lessons
    told = [entry for entry in logs if entry["event"] == "case-skipped"]
    assert [entry["image"] for entry in told] == [str(cut)]
    assert str(cut) in told[0]["reason"]
    assert (logs[-1]["images"], logs[-1]["skipped"]) == (1, 1)
    dicom_file(whole, np.zeros_like(scene.pixels))
    assert list(lessons_of("inbreast", root, PLAN)) == []


def case_of(name, *, marked):
    """A case of no file."""
    return Case(
        dataset=DatasetKind.VINDR,
        patient=name,
        split=Split.TRAINING,
        image=Path(f"{name}.dicom"),
        view=None,
        calcified=marked,
        elsewhere_clear=not marked,
    )


def test_marked_and_unmarked_images_come_by_turns_in_an_order_of_their_own():
    cases = [case_of(f"m{n}", marked=True) for n in range(3)] + [
        case_of(f"u{n}", marked=False) for n in range(9)
    ]
    order = list(in_turn(cases))
    assert [bool(case.calcified) for case in order[:6]] == [True, False] * 3
    assert list(in_turn(cases[::-1])) == order
    assert [case.patient for case in order if not case.calcified] != [f"u{n}" for n in range(9)]


def test_patients_fall_into_the_splits_as_often_as_they_should():
    splits = [split_by_patient(patient_hash(DatasetKind.CMMD, f"D1-{n}")) for n in range(2000)]
    assert abs(splits.count(Split.TRAINING) / 2000 - 0.7) < 0.04
    assert abs(splits.count(Split.VALIDATION) / 2000 - 0.15) < 0.03


def test_a_point_outside_the_breast_is_no_reason_to_fail(tmp_path, scene, corners):
    case = catalogue_of(DatasetKind.INBREAST, inbreast_folder(tmp_path, scene, corners)).cases[0]
    far = dataclasses.replace(case.marks[0], center=ImagePoint(-40.0, 99999.0))
    lesson = whole_lesson(dataclasses.replace(case, marks=(far,)))
    assert len(lesson.specks) == 0
