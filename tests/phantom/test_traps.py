"""What is bright and no calcification: each trap is drawn where its truth says, and says what it is."""

import numpy as np
import pytest

from lab.phantom import folds, metal, overlay
from lab.phantom.anatomy import Window, draw_anatomy, plan_breast
from lab.phantom.distractors import draw_traps
from lab.phantom.fields import generator
from lab.phantom.scene import make_scene
from lab.phantom.truth import METAL_INDEX
from mammography.view import Laterality, View, ViewPosition

PITCH = 0.28
WINDOW = Window(
    rows=832,
    columns=640,
    spacing_mm=PITCH,
    top_mm=0.0,
    left_mm=0.0,
    detector_height_mm=232.96,
    detector_width_mm=179.2,
)
L_MLO = View(laterality=Laterality.LEFT, position=ViewPosition.MLO)


@pytest.fixture(scope="module")
def breast():
    rng = generator(3, "breast")
    return draw_anatomy(plan_breast(rng, density=1), ViewPosition.MLO, WINDOW, rng)


@pytest.fixture
def gland(breast):
    return np.full((WINDOW.rows // 2, WINDOW.columns // 2), 0.5, np.float32)


def around(field, step, place, reach_mm):
    """Return the part of a field around a place in mm."""
    row, column = (int(mm / PITCH / step) for mm in place)
    reach = int(reach_mm / PITCH / step) + 1
    return field[max(row - reach, 0) : row + reach + 1, max(column - reach, 0) : column + reach + 1]


@pytest.mark.parametrize("name", ["wedge", "rim_fold", "creases", "paddle", "hair", "lymph_node"])
def test_what_overlaps_tissue_adds_to_it_where_the_truth_says(breast, name):
    line = np.zeros((WINDOW.rows // 2, WINDOW.columns // 2), np.float32)
    place = getattr(folds, f"draw_{name}")(line, breast, generator(5, name))
    assert place is not None
    assert np.abs(around(line, 2, place, 16)).max() > 0.005
    assert np.abs(line).max() < 3


@pytest.mark.parametrize("name", ["crossing", "mole"])
def test_fibres_and_moles_lie_in_the_breast(breast, gland, name):
    line = np.zeros((WINDOW.rows // 2, WINDOW.columns // 2), np.float32)
    place = getattr(folds, f"draw_{name}")(line, breast, gland, generator(5, name))
    assert around(breast.inside, 4, place, 0.1).any()
    assert np.abs(around(line, 2, place, 6)).max() > 0.003


def test_a_fold_begins_at_the_skin_and_is_brightest_there(breast):
    for seed in range(6):
        line = np.zeros((WINDOW.rows // 2, WINDOW.columns // 2), np.float32)
        folds.draw_rim_fold(line, breast, generator(seed, "rim"))
        depth = np.repeat(np.repeat(breast.depth, 2, axis=0), 2, axis=1)
        assert line[(depth > 0) & (depth < 1)].max() > 0.15
        assert line[depth > 12].max() < 0.01


@pytest.mark.parametrize("name", ["bb", "clip", "scar_wire", "ring_marker"])
def test_metal_stops_the_beam_where_the_truth_says(breast, gland, name):
    drawn = np.zeros((WINDOW.rows, WINDOW.columns), np.float32)
    place = getattr(metal, f"draw_{name}")(drawn, breast, gland, generator(5, name))
    assert around(drawn, 1, place, 9).max() > 0.01
    assert np.count_nonzero(drawn) < 0.02 * drawn.size


def test_every_shape_of_clip_is_a_few_millimetres_of_wire(breast, gland):
    sizes = set()
    for seed in range(40):
        drawn = np.zeros((WINDOW.rows, WINDOW.columns), np.float32)
        metal.draw_clip(drawn, breast, gland, generator(seed, "clip"))
        rows, columns = np.nonzero(drawn)
        sizes.add((int(np.ptp(rows)), int(np.ptp(columns)), rows.size))
        assert 3 <= rows.size * PITCH**2 / 0.1 < 600
    assert len(sizes) > 25


def test_a_device_and_deodorant_lie_in_the_upper_part_of_an_oblique_view(breast):
    for name, least in (("device", 300), ("deodorant", 10)):
        drawn = np.zeros((WINDOW.rows, WINDOW.columns), np.float32)
        getattr(metal, f"draw_{name}")(drawn, breast, generator(2, name))
        rows, _ = np.nonzero(drawn)
        assert rows.size >= least
        assert np.median(rows) * PITCH < 110


def test_metal_in_a_scene_is_metal_in_its_class_map_and_bright():
    for seed in range(60):
        scene = make_scene(seed, view=L_MLO, rows=512, columns=384, spacing_mm=0.35, lesions=(), singles=0)
        clips = [trap for trap in scene.distractors if trap.kind in {"bb", "clip"}]
        if clips:
            assert (scene.large == METAL_INDEX).any()
            bright = np.quantile(scene.pixels[::4, ::4][scene.breast], 0.5)
            brightest = scene.pixels.reshape(128, 4, 96, 4).max((1, 3))
            assert np.median(brightest[scene.large == METAL_INDEX]) > bright
            return
    pytest.fail("Sixty scenes without a clip or ball.")


def test_every_kind_of_trap_turns_up_in_time(breast, gland):
    kinds = {
        kind
        for seed in range(160)
        for kind, _, _ in draw_traps(breast, gland, generator(seed, "traps")).found
    }
    assert kinds >= {
        "fold",
        "creases",
        "paddle",
        "hair",
        "mole",
        "crossing",
        "lymph-node",
        "bb",
        "clip",
        "scar-wire",
        "skin-marker",
        "device",
        "deodorant",
    }


def test_overlays_stay_off_the_breast_but_for_dust_and_bars(breast):
    kinds = set()
    for seed in range(60):
        values = np.where(np.kron(breast.inside, np.ones((4, 4), bool)), 1200, 40).astype(np.float32)
        before = values.copy()
        rng = generator(seed, "overlay")
        found = overlay.draw_letters(values, breast.inside, "LMLO", rng, mirrored=False)
        found += overlay.draw_neighbour(values, breast, (500, 2200), rng)
        changed = (values != before) & (np.kron(breast.depth, np.ones((4, 4))) > 1.2)
        assert not changed.any()
        found += overlay.draw_collimator(values, breast, 0, rng) + overlay.draw_dust(values, 1500, rng)
        kinds |= {kind for kind, _, _ in found}
        for _, row, column in found:
            assert 0 <= row <= WINDOW.rows
            assert 0 <= column <= WINDOW.columns
    assert kinds >= {"letters", "neighbour", "collimator", "dust"}


def test_letters_of_a_right_breast_read_right_once_it_is_mirrored():
    nothing = np.zeros((WINDOW.rows // 4, WINDOW.columns // 4), bool)
    pictures = []
    for mirrored in (False, True):
        values = np.zeros((WINDOW.rows, WINDOW.columns), np.float32)
        overlay.draw_letters(values, nothing, "RMLO", generator(12, "letters"), mirrored=mirrored)
        rows, columns = np.nonzero(values)
        picture = values[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
        pictures.append(picture[:, ::-1] if mirrored else picture)
    assert np.array_equal(*pictures)
