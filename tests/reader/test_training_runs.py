"""A run is its seed and its course: the same weights twice, and after a kill; data sets are mixed in; it reports."""

import multiprocessing
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from lab.training import run
from lab.training.batches import Choice, draw_batch
from lab.training.checkpoint import CHECKPOINT_FILE, NoCheckpoint, averaged_weights, course_of, save
from lab.training.lesson import read_lesson, write_lesson
from lab.training.mixing import KeptLessons
from lab.training.report import write_report
from lab.training.scenes import lesson_file
from lab.training.supply import AHEAD, DrawingFailed, Supply
from tests.reader.lessons import COURSE, PLAN, SAVE_EVERY, learned, write_two_lessons

REPOSITORY = Path(__file__).parents[2]
SLOW_RUN = (
    "import sys; from pathlib import Path; import torch; from tests.reader.lessons import learned; "
    "torch.set_num_threads(1); "
    "learned(Path(sys.argv[1]), Path(sys.argv[2]), pause_seconds=0.2)"
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two small lessons."""
    return write_two_lessons(tmp_path_factory.mktemp("lessons"))


@pytest.fixture(autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def whole(folder, tmp_path_factory):
    """A run that nothing disturbed."""
    torch.set_num_threads(1)
    return learned(folder, tmp_path_factory.mktemp("whole"))


def same(first: run.Run, second: run.Run) -> bool:
    return all(torch.equal(first.average[name], value) for name, value in second.average.items())


def test_one_seed_gives_one_network_and_another_seed_another(folder, whole, tmp_path):
    assert same(whole, learned(folder, tmp_path))
    assert not same(whole, learned(folder, tmp_path, seed=6))


def test_a_run_that_was_killed_goes_on_to_the_same_weights(folder, whole, tmp_path):
    checkpoint = tmp_path / CHECKPOINT_FILE
    with subprocess.Popen(
        [sys.executable, "-c", SLOW_RUN, str(folder), str(tmp_path)], cwd=REPOSITORY
    ) as going:
        until = time.monotonic() + 60
        while not checkpoint.exists() and time.monotonic() < until:
            time.sleep(0.05)
        time.sleep(0.5)
        going.kill()
    step = torch.load(checkpoint, weights_only=True)["step"]
    assert step % SAVE_EVERY == 0
    assert 0 < step < COURSE.steps
    resumed = learned(folder, tmp_path, go_on=True)
    assert resumed.step == COURSE.steps
    assert same(whole, resumed)
    assert resumed.mistakes.keys() == whole.mistakes.keys()
    assert np.allclose(np.array(resumed.curve), np.array(whole.curve), rtol=1e-5)


def test_what_a_run_knows_depends_on_its_step_alone():
    course = run.Course(steps=1000, lessons=400)
    assert [course.lessons_at(step)[1] for step in (0, 49, 400, 800, 999)] == [20, 20, 210, 400, 400]
    long = run.Course(steps=100_000, lessons=50_000)
    first, last = long.lessons_at(60_000)
    assert last - first == run.MOST_LESSONS
    assert long.taken_up == long.lessons


def test_every_lesson_is_searched_for_mistakes_before_one_is_searched_again(folder):
    state = run.begin(PLAN, seed=1, course=COURSE)
    run.load_lessons(state, Supply(folder, seed=0))
    for _ in range(3):
        run.mine(state, PLAN)
    assert sorted(state.looks.values()) == [1, 2]


def test_a_run_begins_with_the_weights_of_another(whole, tmp_path):
    save(whole, tmp_path / CHECKPOINT_FILE)
    state = run.begin(PLAN, seed=9, course=COURSE)
    assert not same(whole, state)
    run.start_from(state, averaged_weights(tmp_path / CHECKPOINT_FILE))
    assert same(whole, state)
    assert course_of(tmp_path / CHECKPOINT_FILE) == (5, COURSE)


def test_what_is_no_checkpoint_is_refused_by_name(tmp_path):
    (tmp_path / "other.pt").write_bytes(b"PK\x03\x04 nothing")
    with pytest.raises(NoCheckpoint, match=r"other\.pt is no checkpoint"):
        averaged_weights(tmp_path / "other.pt")


def test_lessons_are_drawn_beside_and_let_go_when_no_longer_needed(tmp_path):
    with Supply(tmp_path, seed=3) as supply:
        supply.draw(0, 2, processes=1)
        paths = supply.files(0, 2)
        assert [path.name for path in paths] == [lesson_file(0, seed=3), lesson_file(1, seed=3)]
        assert all(read_lesson(path).image.any() for path in paths)
        supply.let_go(1)
        assert [path.exists() for path in paths] == [False, True]
    assert not multiprocessing.active_children()
    with Supply(tmp_path, seed=3) as idle, pytest.raises(DrawingFailed, match="000000"):
        idle.files(0, 2)
    assert AHEAD > 0


def test_lessons_of_a_data_set_are_mixed_in_as_often_as_asked(folder, tmp_path):
    lesson = read_lesson(folder / lesson_file(0, seed=0))
    bright = replace(lesson, image=np.full_like(lesson.image, 5.0))
    paths = [tmp_path / f"inbreast-{number}.npz" for number in range(2)]
    for path in paths:
        write_lesson(bright, path)
    data = KeptLessons(paths)
    lessons = {folder / lesson_file(0, seed=0): lesson}
    batch = draw_batch(
        lessons, {}, crops=60, rng=np.random.default_rng(0), choice=Choice(data=0.25), data=data
    )
    share = float((batch.image.amin(dim=(1, 2, 3)) > 1.5).float().mean())
    assert 0.1 < share < 0.4
    state = run.begin(PLAN, seed=1, course=COURSE)
    state.data = data
    run.load_lessons(state, Supply(folder, seed=0))
    assert np.isfinite(run.take_step(state)).all()
    state.step = run.MINE_EVERY_STEPS * run.MINE_DATA_EVERY
    run.mine(state, PLAN)
    assert set(state.looks) <= set(data)


def test_the_report_shows_every_loss_and_some_lessons(whole, tmp_path):
    write_report(whole, PLAN, "mammocalc train --seed 5", tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    assert "mammocalc train --seed 5" in page
    assert page.count("<svg") == 2
    assert page.count("data:image/jpeg;base64,") == 2
    assert "http://" not in page.replace("http://www.w3.org", "").replace("http://purl.org", "").replace(
        "http://creativecommons.org", ""
    )
    shutil.rmtree(tmp_path)


def test_products_in_bfloat16_teach_as_well_and_weights_stay_float32(folder):
    parts = {}
    for precision in (torch.float32, torch.bfloat16):
        state = run.begin(PLAN, seed=5, course=COURSE, precision=precision)
        run.load_lessons(state, Supply(folder, seed=0))
        parts[precision] = np.array([run.take_step(state) for _ in range(6)])
        assert {value.dtype for value in state.network.parameters()} == {torch.float32}
    assert parts[torch.bfloat16] == pytest.approx(parts[torch.float32], rel=0.05, abs=0.02)
    assert not np.array_equal(parts[torch.bfloat16], parts[torch.float32])
