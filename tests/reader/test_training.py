"""The network learns: targets lie where the truth lies, a few steps lower the loss, a run can be resumed."""

import numpy as np
import pytest
import torch

from lab.phantom.lesions import plan_lesion
from lab.phantom.scene import make_scene
from lab.training import run
from lab.training.batches import draw_batch
from lab.training.fitting import fit_logistic
from lab.training.lesson import VISIBLE_D_PRIME, lesson_of, read_lesson, write_lesson
from lab.training.scenes import first_plan
from mammography.finding import Morphology
from mammography.reader.network import CELL
from mammography.view import Laterality, View, ViewPosition

PLAN = first_plan().model_copy(update={"widths": (8, 8, 8, 8)})


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two small lessons: punctate groups in a left and in a right breast."""
    folder = tmp_path_factory.mktemp("lessons")
    for number, side in enumerate((Laterality.LEFT, Laterality.RIGHT)):
        lesion = plan_lesion(Morphology.PUNCTATE, number, np.random.default_rng(number), easy=True)
        view = View(laterality=side, position=ViewPosition.CC)
        scene = make_scene(
            number, view=view, rows=512, columns=512, lesions=[lesion], singles=0.0, window=True
        )
        write_lesson(lesson_of(scene, PLAN), folder / f"lesson-000-{number:06d}.npz")
    return folder


def files(folder):
    """The lessons of a folder, in their order."""
    return sorted(folder.glob("lesson-*.npz"))


@pytest.fixture
def begun(folder):
    """A run with both lessons that has not taken a step, on one thread, as training is."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    begun = run.begin(PLAN, seed=1, course=run.Course(steps=40, lessons=2))
    run.load_lessons(begun, files(folder))
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
    parts = np.array([run.take_step(begun, crops=2) for _ in range(24)])
    assert parts[-8:, 0].mean() < 0.7 * parts[:6, 0].mean()
    assert np.isfinite(parts).all()


def learned(folder, out, *, stop_at=None, resume=False):
    """Take the steps of one course, all of them or until a step; return the run."""
    state = run.begin(PLAN, seed=5, course=run.Course(steps=12, lessons=2))
    if resume:
        run.resume(state, out / run.CHECKPOINT_FILE, folder=folder)
    for progress in run.learn(state, PLAN, lessons=lambda _: files(folder), out=out):
        if progress.step == stop_at:
            break
    return state


def test_one_seed_gives_one_network_and_a_stopped_run_the_same(folder, tmp_path, monkeypatch, begun):
    monkeypatch.setattr(run, "SAVE_EVERY_STEPS", 4)
    whole, again = learned(folder, tmp_path), learned(folder, tmp_path)
    learned(folder, tmp_path, stop_at=6)  # the checkpoint is that of step 4
    resumed = learned(folder, tmp_path, resume=True)
    assert whole.step == resumed.step == 12
    for name, value in whole.average.items():
        assert torch.equal(again.average[name], value), name
        assert torch.equal(resumed.average[name], value), name


def test_a_course_knows_its_lessons_by_the_step_alone():
    course = run.Course(steps=100, lessons=50)
    assert [course.lessons_at(step) for step in (0, 40, 80, 100)] == [8, 29, 50, 50]


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
