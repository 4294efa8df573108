"""What a study is drawn from: usual conditions, shifted ones that training never draws, and normal breasts."""

from dataclasses import fields, replace

import numpy as np
import pytest

from lab.phantom.anatomy import Window, draw_anatomy, plan_breast
from lab.phantom.condition import (
    FILM,
    SHIFTED_VENDORS,
    Acquisition,
    Condition,
    draw_acquisition,
)
from lab.phantom.detector import Exposure, plan_detector
from lab.phantom.fields import generator
from lab.phantom.film import draw_film, draw_film_marks, draw_shifted_film, screen, share_kept
from lab.phantom.lesions import plan_lesion, random_lesions
from lab.phantom.presentation import VENDORS
from lab.phantom.realism import noise_by_brightness
from lab.phantom.scene import make_scene
from lab.phantom.study import draw_study
from lab.phantom.truth import LARGE, METAL_INDEX, NOTHING_LARGE
from mammography.finding import LARGE_KINDS, Distribution, Morphology
from mammography.view import Laterality, View, ViewPosition

WINDOW = {"rows": 768, "columns": 640, "window": True}
L_CC = View(laterality=Laterality.LEFT, position=ViewPosition.CC)
L_MLO = View(laterality=Laterality.LEFT, position=ViewPosition.MLO)


def detector_of(*, rows, columns, spacing_mm=0.28):
    """Return a window that shows the whole of a detector."""
    height, width = rows * spacing_mm, columns * spacing_mm
    return Window(
        rows=rows,
        columns=columns,
        spacing_mm=spacing_mm,
        top_mm=0,
        left_mm=0,
        detector_height_mm=height,
        detector_width_mm=width,
    )


def drawn(condition, count=300):
    return [draw_acquisition(condition, generator(number, "test")) for number in range(count)]


def test_usual_studies_come_from_every_vendor_at_its_own_pitch_and_from_film():
    usual = drawn(Condition.USUAL)
    digital = [taken for taken in usual if taken.film is None]
    assert {taken.name for taken in usual} == {vendor.name for vendor in VENDORS} | {FILM}
    assert all(taken.spacing_mm == taken.vendor.spacing_mm for taken in digital)
    assert 0.03 < 1 - len(digital) / len(usual) < 0.15


def test_what_is_shifted_is_never_drawn_in_training():
    usual, shifted = drawn(Condition.USUAL), drawn(Condition.SHIFTED)
    assert not {taken.vendor.name for taken in shifted} & {vendor.name for vendor in VENDORS}
    assert {taken.spacing_mm for taken in shifted} == {0.05, 0.1}
    curves = [curve for vendor in VENDORS for curve in vendor.curve]
    for vendor in SHIFTED_VENDORS:
        assert vendor.curve[1] < min(curves) or vendor.curve[0] > max(curves)
    scatter = [plan_detector(generator(number, "detector")).scatter for number in range(300)]
    assert min(taken.detector.scatter for taken in shifted if taken.detector) > max(scatter)
    assert any(taken.film for taken in usual)
    assert any(taken.film for taken in shifted)


def test_shifted_film_is_coarser_than_any_film_of_training():
    usual = [draw_film(generator(number, "film")) for number in range(200)]
    shifted = [draw_shifted_film(generator(number, "film")) for number in range(200)]
    for field in ("grain", "clump", "darkest", "scanner_noise", "scanner_blur", "dirt", "screen_mm"):
        assert min(getattr(film, field) for film in shifted) > max(getattr(film, field) for film in usual)
    assert {field.name for field in fields(usual[0])} >= {"slope", "middle"}


def test_a_normal_study_holds_no_calcification():
    scenes = list(draw_study(4, rows=640, columns=512, condition=Condition.NORMAL))
    assert len(scenes) == 4
    for scene in scenes:
        assert not scene.specks
        assert not scene.groups
        assert not scene.macro.any()
        assert set(np.unique(scene.large)) <= {NOTHING_LARGE, METAL_INDEX}


def test_a_study_has_the_pitch_and_the_matrix_of_its_machine():
    scene = next(draw_study(0, views=[L_CC], condition=Condition.SHIFTED, spacing_mm=None))
    assert scene.spacing_mm in {0.05, 0.1}
    assert scene.pixels.shape[0] * scene.spacing_mm == pytest.approx(232.96, abs=0.3)
    assert scene.pixels.shape[1] * scene.spacing_mm == pytest.approx(179.2, abs=0.3)


def test_film_is_noisier_where_it_is_dark():
    film = Acquisition(vendor=VENDORS[0], spacing_mm=0.05, film=draw_film(generator(1, "film")))
    scene = make_scene(8, view=L_CC, spacing_mm=0.05, acquisition=film, density=1, **WINDOW)
    dark, _, bright = noise_by_brightness(scene.pixels, scene.breast)
    assert dark > bright
    assert scene.vendor == FILM


def test_film_hides_specks_most_where_it_is_nearly_black():
    rng = generator(3, "film")
    breast = draw_anatomy(plan_breast(rng), ViewPosition.CC, detector_of(rows=640, columns=512), rng)
    clean = np.geomspace(300, 300_000, 640, dtype=np.float32)[:, None].repeat(512, axis=1)
    film = draw_film(rng)
    exposure = Exposure(signal=clean, clean=clean, plan=screen(film, 0.07, rng), median_attenuation=1.0)
    dense, middle, black = (share_kept(exposure, breast, film, row, 256.0) for row in (200, 320, 620))
    assert 0 <= black < 0.5 * middle
    assert max(dense, middle) < 1
    assert min(dense, middle) > 0.8


@pytest.mark.parametrize("morphology", sorted(LARGE))
def test_the_class_map_names_each_large_structure_where_it_lies(morphology):
    for seed in range(20):
        lesion = plan_lesion(morphology, 3, generator(seed, "lesion"))
        scene = make_scene(seed, view=L_CC, lesions=(lesion,), singles=0, **WINDOW)
        if len(scene.specks) == 0:
            continue
        kinds = set(np.unique(scene.large[scene.macro]))
        assert kinds == {LARGE_KINDS.index(morphology.value)}
        rows, columns = np.argwhere(scene.macro).T * 4
        for speck in scene.specks:
            reach = 20 + 12 / scene.spacing_mm
            assert np.hypot(rows - speck.center.row, columns - speck.center.column).min() < reach
        return
    pytest.fail(f"No window of twenty showed a lesion of kind {morphology}.")


def test_specks_lie_in_the_breast():
    for seed, view in ((31, L_CC), (32, L_MLO), (33, L_CC)):
        scene = make_scene(seed, view=view, rows=1024, columns=800, spacing_mm=0.14)
        for speck in scene.specks:
            assert scene.breast[int(speck.center.row) // 4, int(speck.center.column) // 4]


def test_planned_groups_have_the_sizes_and_counts_of_real_ones():
    small = [
        lesion
        for number in range(250)
        for lesion in random_lesions(generator(number, "plans"))
        if lesion.morphology not in LARGE
    ]
    counts = np.array([len(lesion.specks) for lesion in small])
    sizes = np.array([speck.shape.equivalent_mm for lesion in small for speck in lesion.specks])
    assert 10 <= np.median(counts) <= 20
    assert 0.2 < np.mean((counts >= 5) & (counts <= 10)) < 0.5
    assert 0.15 < np.quantile(sizes, 0.25) < np.median(sizes) < 0.4
    assert np.quantile(sizes, 0.95) < 1.0


def test_a_third_of_faint_kinds_are_subtle():
    kinds = (Morphology.FINE_PLEOMORPHIC, Morphology.AMORPHOUS, Morphology.PUNCTATE)
    for kind in kinds:
        plans = [plan_lesion(kind, 1, generator(number, kind)) for number in range(300)]
        grouped = [plan for plan in plans if plan.distribution is Distribution.GROUPED]
        few = [5 <= len(plan.specks) <= 10 for plan in grouped]
        easy = plan_lesion(kind, 1, generator(1, kind), easy=True)
        assert np.mean(few) > 0.3
        assert min(speck.shape.diameter_mm for speck in easy.specks) >= 0.2


def test_a_scratch_that_runs_off_the_film_is_no_error_and_no_mark():
    rng = generator(1, "film")
    breast = draw_anatomy(plan_breast(rng), ViewPosition.CC, detector_of(rows=160, columns=128), rng)
    film = replace(draw_film(rng), dirt=2.5)
    for number in range(300):
        values = np.zeros((160, 128), np.float32)
        marks = draw_film_marks(values, breast, film, generator(number, "marks"))
        assert all(0 <= row <= 160 and 0 <= column <= 128 for kind, row, column in marks if kind == "scratch")
