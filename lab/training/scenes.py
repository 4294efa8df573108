"""The scenes that lessons are made from: windows of synthetic breasts, each from a seed of its own."""

from pathlib import Path

import numpy as np

from lab.phantom.scene import make_scene
from lab.phantom.truth import Scene
from lab.training.lesson import lesson_of, write_lesson
from lab.training.resampling import resampled
from mammography.finding import Morphology
from mammography.reader.plan import NETWORK_FILE, ReaderPlan
from mammography.view import SCREENING_SET

FIRST_SEED = 1_000_000_000
"""Training and validation take seeds from here on; whatever lies below was never learned from."""
SEEDS_PER_RUN = 10_000_000
VALIDATION_SEEDS = 5_000_000
"""Within a run's seeds, the first that choose thresholds and fit the classification."""
WINDOW_ROWS, WINDOW_COLUMNS = 1152, 896
SPACINGS_MM = (0.05, 0.065, 0.07, 0.085, 0.0941, 0.1)
_SPACING_SHARES = (0.12, 0.05, 0.53, 0.13, 0.05, 0.12)
RESAMPLED_SHARE = 0.2
RESAMPLED_FACTORS = (0.8, 1.25)
_VIEWS = sorted(SCREENING_SET, key=str)


def first_plan() -> ReaderPlan:
    """Return the plan that a run begins with; thresholds are chosen when it ends."""
    return ReaderPlan(
        version="0",
        trained_on="Nothing yet",
        files={NETWORK_FILE: ""},
        morphologies=tuple(morphology for morphology in Morphology if morphology is not Morphology.SUTURE),
        point_score=0.2,
        operating_points={"standard": 0.5},
        suspicious_score=0.5,
    )


def training_scene(number: int, *, seed: int) -> Scene:
    """Return the training scene of a number: a window of a breast, at one of the detectors' pitches or resampled."""
    scene_seed = FIRST_SEED + seed * SEEDS_PER_RUN + number
    rng = np.random.default_rng(scene_seed)
    scene = make_scene(
        scene_seed,
        view=_VIEWS[int(rng.integers(len(_VIEWS)))],
        rows=WINDOW_ROWS,
        columns=WINDOW_COLUMNS,
        spacing_mm=float(rng.choice(SPACINGS_MM, p=_SPACING_SHARES)),
        window=True,
    )
    if rng.random() >= RESAMPLED_SHARE:
        return scene
    return resampled(scene, float(np.exp(rng.uniform(*np.log(RESAMPLED_FACTORS)))))


def validation_scene(number: int, *, seed: int, whole: bool) -> Scene:
    """Return the validation scene of a number, a whole image or a window, that no training scene equals."""
    scene_seed = FIRST_SEED + seed * SEEDS_PER_RUN + VALIDATION_SEEDS + number
    view = _VIEWS[number % len(_VIEWS)]
    if whole:
        return make_scene(scene_seed, view=view)
    return make_scene(scene_seed, view=view, rows=WINDOW_ROWS, columns=WINDOW_COLUMNS, window=True)


def lesson_file(number: int, *, seed: int) -> str:
    """Return the name of the file of a run's lesson."""
    return f"lesson-{seed:03d}-{number:06d}.npz"


def write_lesson_of(number: int, folder: Path, *, seed: int) -> None:
    """Write the lesson of a number into a folder, unless it is there."""
    path = folder / lesson_file(number, seed=seed)
    if not path.exists():
        write_lesson(lesson_of(training_scene(number, seed=seed), first_plan()), path)
