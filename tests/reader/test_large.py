"""Large calcifications: from the class map to findings, on maps drawn by hand."""

from pathlib import Path

import numpy as np
import pytest
import torch
from pydicom.dataset import Dataset

from lab.phantom.scene import make_scene
from lab.training.scenes import first_plan
from mammography.coordinates import Grid, ImagePoint, inside
from mammography.finding import LARGE_KINDS, METAL, FindingAssessment, FindingKind, Morphology, NonLesionKind
from mammography.mammogram import FOR_PRESENTATION, Mammogram
from mammography.reader.large import is_metal, large_finding, large_of, metal_of, reported
from mammography.reader.network import CELL, COARSE_CELL, Maps
from mammography.reader.preprocessing import Prepared, prepare
from mammography.reader.reader import Reader
from mammography.reader.weights_folder import SHIPPED_WEIGHTS, open_weights
from mammography.view import Laterality, View, ViewPosition

SIDE, SPACING_MM = 512, 0.1
CELLS = SIDE // COARSE_CELL
PLAN = first_plan().model_copy(update={"large_score": 0.8, "large_mm2": 1.0})


def prepared(*, mirrored: bool = False) -> Prepared:
    """A breast that fills an image whose reader pixels begin at column 100, row 40 of the stored one."""
    return Prepared(
        image=torch.zeros(1, 2, SIDE, SIDE),
        breast=np.ones((SIDE, SIDE), dtype=np.bool_),
        grid=Grid(column_offset=100.0, row_offset=40.0, columns=SIDE, mirrored=mirrored),
        spacing_mm=SPACING_MM,
    )


def maps(*things: tuple[str, slice, slice, float]) -> Maps:
    """Maps on which each thing covers some coarse cells (rows, columns) with a logit beside nothing's 0."""
    large = torch.full((1, 1 + len(LARGE_KINDS), CELLS, CELLS), -8.0)
    large[:, 0] = 0.0
    for kind, rows, columns, logit in things:
        large[0, 1 + LARGE_KINDS.index(kind), rows, columns] = logit
    fine = torch.full((1, 1, SIDE // CELL, SIDE // CELL), -9.0)
    return Maps(center=fine, size=fine, large=large, morphology=torch.zeros(1, 13, CELLS, CELLS))


def mammogram(rows: int = SIDE + 80, columns: int = SIDE + 200) -> Mammogram:
    return Mammogram(
        path=Path("image.dcm"),
        sop_instance_uid="1.2.3",
        sop_class_uid=FOR_PRESENTATION,
        study_instance_uid="1.2",
        view=None,
        rows=rows,
        columns=columns,
        spacing_mm=SPACING_MM,
        inverted=False,
        pixels=np.zeros((rows, columns), dtype=np.uint16),
        header=Dataset(),
    )


def test_a_large_structure_is_a_benign_finding_of_its_kind_whose_one_speck_is_all_of_it():
    (structure,) = large_of(maps(("rim", slice(30, 40), slice(50, 60), 4.0)), prepared(), PLAN)
    assert structure.kind is Morphology.RIM
    assert structure.area_mm2 == pytest.approx(100 * (COARSE_CELL * SPACING_MM) ** 2)
    finding = large_finding(structure, prepared(), mammogram(), PLAN)
    assert (finding.kind, finding.assessment) == (FindingKind.LARGE, FindingAssessment.BENIGN)
    assert (finding.morphology, finding.distribution) == (Morphology.RIM, None)
    (speck,) = finding.specks
    assert speck.center == ImagePoint(100 + 55 * COARSE_CELL, 40 + 35 * COARSE_CELL)
    assert speck.diameter_mm == pytest.approx(2 * (structure.area_mm2 / np.pi) ** 0.5, abs=1e-3)
    assert finding.detection == structure.score > 0.95
    assert finding.suspicion < 0.1
    corners = [ImagePoint(100 + 4 * column, 40 + 4 * row) for column in (50, 60) for row in (30, 40)]
    assert all(inside(corner, finding.outline) for corner in corners)
    assert not inside(ImagePoint(100 + 4 * 66, 40 + 4 * 35), finding.outline)


def test_a_mirrored_breast_has_its_large_finding_on_the_other_side():
    (structure,) = large_of(maps(("coarse", slice(30, 40), slice(50, 60), 4.0)), prepared(), PLAN)
    finding = large_finding(structure, prepared(mirrored=True), mammogram(), PLAN)
    assert finding.specks[0].center == ImagePoint(100 + SIDE - 55 * COARSE_CELL, 40 + 35 * COARSE_CELL)


def test_metal_is_no_calcification():
    (clip,) = large_of(maps((METAL, slice(10, 20), slice(10, 20), 6.0)), prepared(), PLAN)
    assert clip.score < 0.05
    assert not reported(clip, PLAN)
    assert is_metal(clip, PLAN)
    thing = metal_of(clip, prepared(mirrored=True), mammogram())
    assert thing.kind is NonLesionKind.METAL
    corners = [ImagePoint(100 + SIDE - 4 * column, 40 + 4 * row) for column in (10, 20) for row in (10, 20)]
    assert all(inside(corner, thing.outline) for corner in corners)
    assert not inside(ImagePoint(100 + SIDE - 4 * 26, 40 + 4 * 15), thing.outline)


def test_a_ball_of_lead_on_a_phantom_is_told_as_metal_and_marked_by_nothing():
    scene = make_scene(
        29,
        view=View(laterality=Laterality.LEFT, position=ViewPosition.CC),
        rows=1664,
        columns=1280,
        spacing_mm=SPACING_MM,
        lesions=[],
        density=1,
        singles=0.0,
    )
    (ball,) = [trap.center for trap in scene.distractors if trap.kind == "bb"]
    weights = open_weights(SHIPPED_WEIGHTS)
    reader = Reader(weights._replace(plan=weights.plan.model_copy(update={"large_score": 0.5})))
    seen = prepare(scene.pixels.astype(np.float32), spacing_mm=SPACING_MM, plan=reader.plan)
    reading = reader.answer_of(mammogram(1664, 1280), seen, reader.look(seen)).reading
    assert [thing.kind for thing in reading.non_lesions] == [NonLesionKind.METAL]
    assert inside(ball, reading.non_lesions[0].outline)
    assert not [finding for finding in reading.findings if inside(ball, finding.outline)]


def test_calcium_and_small_or_doubtful_metal_are_not_called_metal():
    doubtful, small, calcium = (
        large_of(maps((kind, slice(8, 8 + side), slice(8, 8 + side), logit)), prepared(), PLAN)[0]
        for kind, side, logit in ((METAL, 10, 0.5), (METAL, 2, 6.0), ("rim", 10, 6.0))
    )
    assert [is_metal(structure, PLAN) for structure in (doubtful, small, calcium)] == [False, False, False]


def test_small_and_doubtful_structures_are_not_reported_and_by_default_none_is():
    small, doubtful, clear = (
        large_of(maps(("skin", slice(8, 8 + side), slice(8, 8 + side), logit)), prepared(), PLAN)[0]
        for side, logit in ((2, 6.0), (10, 0.5), (10, 6.0))
    )
    assert [reported(structure, PLAN) for structure in (small, doubtful, clear)] == [False, False, True]
    assert not reported(clear, first_plan())


def test_the_two_walls_of_a_vessel_are_one_structure_and_distant_things_are_two():
    walls = maps(
        ("vascular", slice(20, 22), slice(20, 90), 5.0), ("vascular", slice(24, 26), slice(20, 90), 5.0)
    )
    assert [structure.kind for structure in large_of(walls, prepared(), PLAN)] == [Morphology.VASCULAR]
    apart = maps(("rim", slice(20, 25), slice(20, 25), 5.0), ("coarse", slice(60, 65), slice(60, 65), 5.0))
    assert {structure.kind for structure in large_of(apart, prepared(), PLAN)} == {
        Morphology.RIM,
        Morphology.COARSE,
    }


def test_nothing_large_is_seen_outside_the_breast():
    air = prepared()
    air.breast[:] = False
    assert large_of(maps(("rim", slice(30, 40), slice(50, 60), 4.0)), air, PLAN) == []


def test_a_kind_that_is_not_clear_is_not_stated():
    both = maps(("rim", slice(30, 40), slice(50, 60), 4.0), ("coarse", slice(30, 40), slice(50, 60), 4.0))
    (structure,) = large_of(both, prepared(), PLAN)
    assert structure.clear == pytest.approx(0.5, abs=0.01)
    assert large_finding(structure, prepared(), mammogram(), PLAN).morphology is None
