"""The training run: steps, averaged weights, mined mistakes, checkpoints; stoppable and resumable at any time."""

import json
import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import structlog
import torch
from numpy.typing import NDArray
from torch import Tensor

from lab.training.batches import draw_batch
from lab.training.lesson import Lesson, macro_at, read_lesson
from lab.training.loss import losses_of
from mammography.coordinates import Grid
from mammography.reader.detection import maps_of, points_of
from mammography.reader.network import Network
from mammography.reader.plan import ReaderPlan
from mammography.reader.preprocessing import Prepared
from mammography.reader.weights_folder import network_for

log = structlog.get_logger()

CROPS = 12
LEARNING_RATE = 2e-3
WARM_UP_STEPS = 60
LONGEST_AVERAGE = 0.998
FEWEST_LESSONS = 8
"""Lessons that must lie ready before the first step."""
MOST_LESSONS = 1000
"""Lessons in memory at once: 6 GB."""
MINE_EVERY_STEPS = 8
MINE_FROM_SHARE = 0.25
"""From here on, one lesson is searched for mistakes every so many steps."""
LOAD_EVERY_STEPS = 50
"""New lessons are taken up after so many steps, always the same ones at the same step."""
SAVE_EVERY_STEPS = 200
TRIAL_STEPS = 5
CHECKPOINT_FILE = "checkpoint.pt"
MISTAKE_SCORE = 0.12
"""A peak above this that is no calcification is a mistake worth another look (hard negative)."""


class Progress(NamedTuple):
    """How far a run is: steps, share of the time (0 to 1), lessons in memory, and the parts of the last loss."""

    step: int
    share: float
    lessons: int
    losses: NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """How long a run is and how many lessons it sees; it decides what is known at which step, however fast that is."""

    steps: int
    lessons: int

    def lessons_at(self, step: int) -> int:
        """Return how many lessons a step knows: a few at first, all of them when four fifths are done."""
        share = min(1.0, step / (0.8 * self.steps))
        first = min(FEWEST_LESSONS, self.lessons)
        return first + int(share * (self.lessons - first))


@dataclass(slots=True, kw_only=True)
class Run:
    """A training run under way. `mistakes`: per lesson, [count, 2] of row, column of false peaks."""

    network: Network
    optimizer: torch.optim.Optimizer
    average: dict[str, Tensor]
    morphology_weights: Tensor
    rng: np.random.Generator
    course: Course
    step: int = 0
    seconds: float = 0.0
    """How long steps have been taken, in all sessions; of no consequence."""
    lessons: dict[Path, Lesson] = field(default_factory=dict)
    seen: set[Path] = field(default_factory=set)
    """Every lesson that was ever taken up."""
    mistakes: dict[Path, NDArray[np.float32]] = field(default_factory=dict)

    @property
    def share(self) -> float:
        """How much of the run is done, 0 to 1."""
        return min(1.0, self.step / self.course.steps)


def begin(plan: ReaderPlan, *, seed: int, course: Course) -> Run:
    """Return a run that has not taken a step."""
    torch.manual_seed(seed)
    network = network_for(plan).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return Run(
        network=network,
        optimizer=torch.optim.AdamW(network.parameters(), LEARNING_RATE, weight_decay=1e-4),
        average={name: value.detach().clone() for name, value in network.state_dict().items()},
        morphology_weights=torch.ones(len(plan.morphologies)),
        rng=np.random.default_rng(seed),
        course=course,
    )


def start_from(run: Run, network: Network) -> None:
    """Begin with the weights of another network instead of random ones."""
    run.network.load_state_dict(network.state_dict())
    run.average = {name: value.detach().clone() for name, value in run.network.state_dict().items()}


def load_lessons(run: Run, paths: Sequence[Path]) -> None:
    """Take up the lessons that this step of the course knows, let the oldest go, weigh rare morphologies up.

    `paths`: all lessons that there are, in their order.
    """
    known = run.course.lessons_at(run.step)
    newest = list(paths[max(known - MOST_LESSONS, 0) : known])
    run.lessons = {path: run.lessons.get(path) or read_lesson(path) for path in newest}
    run.seen.update(newest)
    run.mistakes = {path: places for path, places in run.mistakes.items() if path in run.lessons}
    _weigh(run)


def _weigh(run: Run) -> None:
    """Weigh rare morphologies up, by the lessons that are known."""
    counts = np.zeros(len(run.morphology_weights))
    for lesson in run.lessons.values():
        labels = lesson.morphology[lesson.morphology >= 0]
        counts += np.minimum(np.bincount(labels, minlength=len(counts)), 10)
    weights = 1 / np.sqrt(np.maximum(counts, 1.0))
    run.morphology_weights = torch.from_numpy(weights / weights.mean()).float().clamp(0.3, 3.0)


def take_step(run: Run, *, crops: int = CROPS) -> NDArray[np.float64]:
    """Take one step of AdamW on one batch; return the parts of the loss."""
    rate = (
        LEARNING_RATE
        * min(1.0, run.step / WARM_UP_STEPS)
        * (0.5 * (1 + math.cos(math.pi * run.share)) + 0.01)
    )
    for group in run.optimizer.param_groups:
        group["lr"] = rate
    batch = draw_batch(run.lessons, run.mistakes, crops=crops, rng=run.rng)
    run.network.train()
    maps = run.network(batch.image.contiguous(memory_format=torch.channels_last))
    losses = losses_of(maps, batch, run.morphology_weights)
    run.optimizer.zero_grad()
    losses.total().backward()  # type: ignore[no-untyped-call]
    torch.nn.utils.clip_grad_norm_(run.network.parameters(), 5.0)
    run.optimizer.step()
    run.step += 1
    _average(run)
    return np.array([part.item() for part in losses])


def learn(
    run: Run, plan: ReaderPlan, *, lessons: Callable[[int], Sequence[Path]], out: Path
) -> Iterator[Progress]:
    """Take the steps of the course that are left; yields after every step.

    `lessons` returns the lessons' files in their order, at least as many as it is asked for: it waits for them.
    A checkpoint is written every SAVE_EVERY_STEPS and at the end; a run that goes on from one takes the same steps
    as one that was never stopped.
    """
    if run.step < run.course.steps and not run.lessons:
        load_lessons(run, lessons(run.course.lessons_at(run.step)))
    while run.step < run.course.steps:
        began = time.monotonic()
        parts = take_step(run)
        if run.share >= MINE_FROM_SHARE and run.step % MINE_EVERY_STEPS == 0:
            mine(run, plan)
        if run.step % LOAD_EVERY_STEPS == 0:
            load_lessons(run, lessons(run.course.lessons_at(run.step)))
        run.seconds += time.monotonic() - began
        if run.step % SAVE_EVERY_STEPS == 0:
            save(run, out / CHECKPOINT_FILE)
            log.info(
                "checkpoint-saved", step=run.step, share=round(run.share, 3), losses=parts.round(3).tolist()
            )
        yield Progress(run.step, run.share, len(run.lessons), parts)
    save(run, out / CHECKPOINT_FILE)


def seconds_per_step(trial: Run) -> float:
    """Return how long a step takes on this machine, from a few steps of a run that is thrown away."""
    take_step(trial)
    began = time.monotonic()
    for _ in range(TRIAL_STEPS):
        take_step(trial)
    return (time.monotonic() - began) / TRIAL_STEPS


def averaged(run: Run, plan: ReaderPlan) -> Network:
    """Return the network with the averaged weights, for looking rather than learning."""
    network = network_for(plan)
    network.load_state_dict(run.average)
    return network.eval().to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def mine(run: Run, plan: ReaderPlan) -> None:
    """Look at one random lesson as the network stands now, and remember its false peaks."""
    paths = list(run.lessons)
    path = paths[int(run.rng.integers(len(paths)))]
    run.mistakes[path] = false_peaks(averaged(run, plan), run.lessons[path])


def false_peaks(network: Network, lesson: Lesson) -> NDArray[np.float32]:
    """Return [count, 2] of row, column of the peaks of a lesson that are no calcification, worst first."""
    prepared = prepared_of(lesson)
    points = points_of(maps_of(network, prepared.image), prepared, lowest_score=MISTAKE_SCORE)
    places = np.stack([points.rows, points.columns], axis=1)
    truth = lesson.specks[:, :2].astype(np.float64)
    reach = np.maximum(0.45, lesson.specks[:, 2] / 2 + 0.25) / lesson.spacing_mm
    apart = np.linalg.norm(places[:, None] - truth[None], axis=2) > reach[None]
    large = np.array([macro_at(lesson.macro, *place) for place in places], dtype=np.bool_)
    wrong = apart.all(axis=1) & ~large
    return places[wrong][:60].astype(np.float32)


def prepared_of(lesson: Lesson) -> Prepared:
    """Return a lesson's image as the reader takes it; the grid is the prepared image's own."""
    image = torch.from_numpy(lesson.image.astype(np.float32))[None]
    breast = np.kron(lesson.breast, np.ones((8, 8), dtype=np.bool_))
    return Prepared(
        image=image,
        breast=breast[: image.shape[-2], : image.shape[-1]],
        grid=Grid(columns=image.shape[-1]),
        spacing_mm=lesson.spacing_mm,
    )


def save(run: Run, path: Path) -> None:
    """Write a checkpoint, whole or not at all: all that the next step depends on."""
    state: dict[str, Any] = {
        "network": run.network.state_dict(),
        "average": run.average,
        "optimizer": run.optimizer.state_dict(),
        "step": run.step,
        "course": (run.course.steps, run.course.lessons),
        "seconds": run.seconds,
        "random": json.dumps(run.rng.bit_generator.state),
        "loaded": [path.name for path in run.lessons],
        "seen": sorted(path.name for path in run.seen),
        "mistakes": {path.name: torch.from_numpy(places) for path, places in run.mistakes.items()},
    }
    partial = path.with_suffix(f".{os.getpid()}")
    torch.save(state, partial)
    partial.replace(path)


def resume(run: Run, path: Path, *, folder: Path) -> None:
    """Go on from a checkpoint, with the course that it was on; `folder` holds the lessons.

    Nothing in the file is executed.
    """
    state = torch.load(path, weights_only=True)
    run.network.load_state_dict(state["network"])
    run.optimizer.load_state_dict(state["optimizer"])
    run.average = state["average"]
    steps, lessons = state["course"]
    run.course = Course(steps=int(steps), lessons=int(lessons))
    run.step, run.seconds = int(state["step"]), float(state["seconds"])
    run.rng.bit_generator.state = json.loads(state["random"])
    run.lessons = {folder / name: read_lesson(folder / name) for name in state["loaded"]}
    run.seen = {folder / name for name in state["seen"]}
    run.mistakes = {folder / name: places.numpy() for name, places in state["mistakes"].items()}
    _weigh(run)
    log.info("run-resumed", step=run.step, share=round(run.share, 3))


def _average(run: Run) -> None:
    """Let the averaged weights follow (exponential moving average, short at first)."""
    keep = min(LONGEST_AVERAGE, (1 + run.step) / (10 + run.step))
    for name, value in run.network.state_dict().items():
        if value.dtype.is_floating_point:
            run.average[name].lerp_(value.detach(), 1 - keep)
        else:
            run.average[name].copy_(value)
