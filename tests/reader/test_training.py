"""The network learns: targets lie where the truth lies, a few steps lower the loss, a run can be resumed."""

import numpy as np
import pytest
import torch

from lab.phantom.truth import NOTHING_LARGE as NO_KIND
from lab.training import run
from lab.training.batches import draw_batch
from lab.training.fitting import fit_logistic
from lab.training.lesson import (
    NOTHING_LARGE,
    UNKNOWN_LARGE,
    VISIBLE_D_PRIME,
    lesson_of,
    read_lesson,
)
from lab.training.loss import losses_of
from lab.training.resampling import resampled
from lab.training.supply import Supply
from mammography.finding import LARGE_KINDS
from mammography.reader.network import CELL, COARSE_CELL
from mammography.view import Laterality
from tests.reader.lessons import COURSE, PLAN, small_scene, write_two_lessons


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two small lessons: punctate groups in a left and in a right breast."""
    return write_two_lessons(tmp_path_factory.mktemp("lessons"))


@pytest.fixture
def begun(folder):
    """A run with both lessons that has not taken a step, on one thread, as training is."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    begun = run.begin(PLAN, seed=1, course=COURSE)
    run.load_lessons(begun, Supply(folder, seed=0))
    yield begun
    torch.set_num_threads(threads)


def test_every_visible_speck_has_its_target_at_its_place(begun):
    for lesson in begun.lessons.values():
        centers = np.argwhere(lesson.heat == 1.0)
        visible = lesson.specks[lesson.specks[:, 3] >= VISIBLE_D_PRIME]
        assert 0 < len(centers) <= len(visible)
        for center in centers:
            distances = np.hypot(*(visible[:, :2] / CELL - 0.5 - center).T)
            assert distances.min() < 1.0


def test_a_lesson_survives_its_file(begun, folder):
    for path, lesson in begun.lessons.items():
        again = read_lesson(path)
        assert np.array_equal(again.image, lesson.image)
        assert np.array_equal(again.specks, lesson.specks)
        assert again.spacing_mm == lesson.spacing_mm


def test_turned_and_mirrored_crops_keep_specks_bright(begun):
    batch = draw_batch(begun.lessons, {}, crops=16, rng=np.random.default_rng(0))
    high_pass = torch.nn.functional.max_pool2d(batch.image[:, 1:], CELL)
    on, off = high_pass[batch.heat == 1.0].mean(), high_pass[batch.heat == 0.0].mean()
    assert on > 4 * off


def test_a_few_steps_on_two_scenes_lower_the_loss(begun):
    parts = np.array([run.take_step(begun) for _ in range(24)])
    assert parts[-8:, 0].mean() < 0.7 * parts[:6, 0].mean()
    assert np.isfinite(parts).all()


def test_what_is_large_is_taught_by_its_kind(begun):
    lesson = next(iter(begun.lessons.values()))
    assert lesson.large.shape == tuple(side // COARSE_CELL for side in lesson.image.shape[1:])
    batch = draw_batch(begun.lessons, {}, crops=4, rng=np.random.default_rng(0))
    maps = begun.network(batch.image)
    kind = LARGE_KINDS.index("rim")
    right, wrong = (torch.zeros_like(maps.large) for _ in range(2))
    right[:, 1 + kind] = 9.0
    wrong[:, 2 + kind] = 9.0
    taught = batch._replace(large=torch.full_like(batch.large, float(kind)))
    rights, wrongs = (
        losses_of(maps._replace(large=said), taught, begun.morphology_weights).large
        for said in (right, wrong)
    )
    assert rights < 0.1
    assert wrongs > 5
    empty = batch._replace(large=torch.full_like(batch.large, float(NOTHING_LARGE)))
    assert losses_of(maps._replace(large=right), empty, begun.morphology_weights).large > 5
    unknown = batch._replace(large=torch.full_like(batch.large, float(UNKNOWN_LARGE)))
    assert losses_of(maps._replace(large=right), unknown, begun.morphology_weights).large == 0


@pytest.mark.parametrize("factor", [0.8, 1.25])
def test_a_resampled_scene_keeps_its_truth_at_its_place(factor):
    scene = small_scene(3, Laterality.RIGHT)
    again = resampled(scene, factor)
    assert again.spacing_mm == pytest.approx(scene.spacing_mm / factor)
    assert again.large.shape == again.breast.shape == tuple(-(-side // 4) for side in again.pixels.shape)
    assert (again.large != NO_KIND).sum() == pytest.approx(
        (scene.large != NO_KIND).sum() * factor**2, rel=0.2, abs=30
    )
    lesson = lesson_of(again, PLAN)
    visible = lesson.specks[lesson.specks[:, 3] >= 25]
    assert len(visible) >= 4
    high_pass = torch.nn.functional.max_pool2d(
        torch.from_numpy(lesson.image[1:].astype(np.float32)), 5, 1, 2
    )[0].numpy()
    peaks = [high_pass[int(row), int(column)] for row, column in visible[:, :2]]
    assert np.median(peaks) > 2 * np.quantile(high_pass[lesson.breast.repeat(8, 0).repeat(8, 1)], 0.9)


def test_false_peaks_are_those_beside_every_speck(begun):
    network, lesson = run.averaged(begun, PLAN), next(iter(begun.lessons.values()))
    with torch.no_grad():
        network.fine_head.bias[0] = 3.0  # sees specks everywhere
    seen = run.false_peaks(network, lesson)
    assert len(seen) > 0
    for place in seen:
        assert np.hypot(*(lesson.specks[:, :2] - place).T).min() > 0.45 / lesson.spacing_mm
    with torch.no_grad():
        network.fine_head.bias[0] = -20.0  # sees nothing anywhere
    assert run.false_peaks(network, lesson).shape == (0, 2)


def test_a_logistic_model_tells_apart_what_one_measure_tells_apart():
    rng = np.random.default_rng(0)
    rows = [{"size": float(size), "noise": float(rng.normal())} for size in np.linspace(-1, 1, 200)]
    model = fit_logistic(rows, np.array([row["size"] > 0.2 for row in rows]), ("size", "noise"))
    assert model.probability({"size": 1.0, "noise": 0.0}) > 0.9
    assert model.probability({"size": -1.0, "noise": 0.0}) < 0.1
    assert abs(model.weight[1]) < 0.3 * abs(model.weight[0])
