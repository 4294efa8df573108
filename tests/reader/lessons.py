"""Two small lessons, and short runs of a small network on them."""

import time
from pathlib import Path

import numpy as np

from lab.phantom.lesions import plan_lesion
from lab.phantom.scene import make_scene
from lab.phantom.truth import Scene
from lab.training import run
from lab.training.checkpoint import CHECKPOINT_FILE, course_of, resume, save
from lab.training.lesson import lesson_of, write_lesson
from lab.training.scenes import first_plan, lesson_file
from lab.training.supply import Supply
from mammography.finding import Morphology
from mammography.view import Laterality, View, ViewPosition

PLAN = first_plan().model_copy(update={"widths": (8, 8, 8, 8)})
COURSE = run.Course(steps=16, lessons=2, crops=2)
SAVE_EVERY = 4


def small_scene(number: int, side: Laterality) -> Scene:
    """A window of a breast with one punctate group."""
    lesion = plan_lesion(Morphology.PUNCTATE, number, np.random.default_rng(number), easy=True)
    view = View(laterality=side, position=ViewPosition.CC)
    return make_scene(number, view=view, rows=512, columns=512, lesions=[lesion], singles=0.0, window=True)


def write_two_lessons(folder: Path) -> Path:
    """Write a lesson of a left and one of a right breast."""
    for number, side in enumerate((Laterality.LEFT, Laterality.RIGHT)):
        write_lesson(lesson_of(small_scene(number, side), PLAN), folder / lesson_file(number, seed=0))
    return folder


def learned(
    folder: Path, out: Path, *, seed: int = 5, go_on: bool = False, pause_seconds: float = 0.0
) -> run.Run:
    """Take all steps of the course, or those that are left after the checkpoint."""
    checkpoint = out / CHECKPOINT_FILE
    if go_on:
        seed, course = course_of(checkpoint)
        assert course == COURSE
    state = run.begin(PLAN, seed=seed, course=COURSE)
    if go_on:
        resume(state, checkpoint, folder=folder)
    supply = Supply(folder, seed=0, keep=True)
    for _ in run.learn(
        state, PLAN, supply=supply, save=lambda state: save(state, checkpoint), save_every=SAVE_EVERY
    ):
        time.sleep(pause_seconds)
    return state
