"""The training run: steps, averaged weights, mined mistakes; the same steps on one machine, however fast it is."""

import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lab.training.batches import Batch, draw_batch
from lab.training.lesson import Lesson, macro_at, read_lesson
from lab.training.loss import losses_of
from lab.training.supply import Supply
from mammography.coordinates import Grid
from mammography.reader.detection import maps_of, points_of
from mammography.reader.network import CELL, Maps, Network
from mammography.reader.plan import ReaderPlan
from mammography.reader.preprocessing import Prepared
from mammography.reader.weights_folder import folded, network_for

CPU = torch.device("cpu")
CROPS = 12
LEARNING_RATE = 2e-3
WARM_UP_STEPS = 60
LONGEST_AVERAGE = 0.998
FEWEST_LESSONS, FIRST_LESSONS = 8, 48
"""Of how many lessons the first step knows: a twentieth of all, within these bounds."""
LAST_LESSON_SHARE = 0.8
MOST_LESSONS = 1000
"""Lessons in memory at once: 6 GB."""
MINE_EVERY_STEPS = 6
MINE_FROM_SHARE = 0.2
"""From here on, one lesson is searched for mistakes every so many steps."""
MINE_DATA_EVERY = 2
"""Where there are lessons of data sets, every so many searches are of one of them."""
LOAD_EVERY_STEPS = 50
"""New lessons are taken up after so many steps, always the same ones at the same step."""
SAVE_EVERY_STEPS = 200
TRIAL_STEPS = 5
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
    crops: int = CROPS

    def lessons_at(self, step: int) -> tuple[int, int]:
        """Return the numbers of the lessons that a step knows: from the first to before the second.

        A few at first, all of them when LAST_LESSON_SHARE of the run is done.
        """
        step = step // LOAD_EVERY_STEPS * LOAD_EVERY_STEPS
        share = min(1.0, step / (LAST_LESSON_SHARE * self.steps))
        first = min(max(FEWEST_LESSONS, min(self.lessons // 20, FIRST_LESSONS)), self.lessons)
        last = first + int(share * (self.lessons - first))
        return max(last - MOST_LESSONS, 0), last

    @property
    def taken_up(self) -> int:
        """How many lessons the whole run takes up."""
        return self.lessons_at(self.steps - 1)[1]


@dataclass(slots=True, kw_only=True)
class Run:
    """A training run under way.

    `mistakes`: per lesson, [count, 2] of row, column of false peaks. `looks`: how often each lesson was searched
    for them. `curve`: of every step the learning rate, the number of lessons and the parts of the loss.
    """

    seed: int
    device: torch.device
    precision: torch.dtype
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
    data: Mapping[Path, Lesson] = field(default_factory=dict)
    """Lessons of data sets, all of which are known from the first step on."""
    mistakes: dict[Path, NDArray[np.float32]] = field(default_factory=dict)
    looks: dict[Path, int] = field(default_factory=dict)
    curve: list[list[float]] = field(default_factory=list)

    @property
    def share(self) -> float:
        """How much of the run is done, 0 to 1."""
        return min(1.0, self.step / self.course.steps)


def begin(
    plan: ReaderPlan,
    *,
    seed: int,
    course: Course,
    device: torch.device = CPU,
    precision: torch.dtype = torch.float32,
) -> Run:
    """Return a run that has not taken a step. `precision`: of products; weights and sums are float32 always."""
    torch.manual_seed(seed)
    network: Network = network_for(plan).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return Run(
        seed=seed,
        device=device,
        precision=precision,
        network=network,
        optimizer=torch.optim.AdamW(network.parameters(), LEARNING_RATE, weight_decay=1e-4),
        average={name: value.detach().clone() for name, value in network.state_dict().items()},
        morphology_weights=torch.ones(len(plan.morphologies), device=device),
        rng=np.random.default_rng(seed),
        course=course,
    )


def start_from(run: Run, weights: Mapping[str, Tensor]) -> None:
    """Begin with the weights of another network instead of random ones.

    Raises:
        RuntimeError: if they are of another kind of network.
    """
    run.network.load_state_dict(weights)
    run.average = {name: value.detach().clone() for name, value in run.network.state_dict().items()}


def load_lessons(run: Run, supply: Supply) -> None:
    """Take up the lessons that this step of the course knows, let the oldest go, weigh rare morphologies up."""
    paths = supply.files(*run.course.lessons_at(run.step))
    run.lessons = {path: run.lessons.get(path) or read_lesson(path) for path in paths}
    kept = run.lessons.keys() | run.data.keys()
    run.mistakes = {path: places for path, places in run.mistakes.items() if path in kept}
    run.looks = {path: count for path, count in run.looks.items() if path in kept}
    counts = np.zeros(len(run.morphology_weights))
    for lesson in run.lessons.values():
        labels = lesson.morphology[lesson.morphology >= 0]
        counts += np.minimum(np.bincount(labels, minlength=len(counts)), 10)
    weights = 1 / np.sqrt(np.maximum(counts, 1.0))
    run.morphology_weights = torch.from_numpy(weights / weights.mean()).float().clamp(0.3, 3.0).to(run.device)


def take_step(run: Run) -> NDArray[np.float64]:
    """Take one step of AdamW on one batch; return the parts of the loss."""
    rate = (
        LEARNING_RATE
        * min(1.0, run.step / WARM_UP_STEPS)
        * (0.5 * (1 + math.cos(math.pi * run.share)) + 0.01)
    )
    for group in run.optimizer.param_groups:
        group["lr"] = rate
    drawn = draw_batch(run.lessons, run.mistakes, crops=run.course.crops, rng=run.rng, data=run.data)
    batch = Batch(*(map_.to(run.device) for map_ in drawn))
    run.network.train()
    with torch.autocast(run.device.type, run.precision, enabled=run.precision is not torch.float32):
        maps = run.network(batch.image.contiguous(memory_format=torch.channels_last))
    losses = losses_of(Maps(*(map_.float() for map_ in maps)), batch, run.morphology_weights)
    run.optimizer.zero_grad()
    losses.total().backward()  # type: ignore[no-untyped-call]
    torch.nn.utils.clip_grad_norm_(run.network.parameters(), 5.0)
    run.optimizer.step()
    run.step += 1
    _average(run)
    parts = np.array([part.item() for part in losses])
    run.curve.append([rate, float(len(run.lessons)), *parts.tolist()])
    return parts


def learn(
    run: Run,
    plan: ReaderPlan,
    *,
    supply: Supply,
    save: Callable[[Run], None],
    save_every: int = SAVE_EVERY_STEPS,
) -> Iterator[Progress]:
    """Take the steps of the course that are left; yields after every step.

    `save` is called after every so many steps and at the end; a run that goes on from what was saved takes the same
    steps as one that was never stopped. Lessons that no saved step needs any more are let go.
    """
    if run.step < run.course.steps:
        load_lessons(run, supply)
    while run.step < run.course.steps:
        began = time.monotonic()
        parts = take_step(run)
        if run.share >= MINE_FROM_SHARE and run.step % MINE_EVERY_STEPS == 0:
            mine(run, plan)
        if run.step % LOAD_EVERY_STEPS == 0:
            load_lessons(run, supply)
        run.seconds += time.monotonic() - began
        if run.step % save_every == 0:
            save(run)
            supply.let_go(run.course.lessons_at(run.step)[0])
        yield Progress(run.step, run.share, len(run.lessons), parts)
    save(run)


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
    return folded(network).to(run.device)


def mine(run: Run, plan: ReaderPlan) -> None:
    """Look for mistakes on one lesson as the network stands now, and remember them in the place of earlier ones.

    The newest of the lessons that were looked at least often, so that all of them get their turn, and then again.
    """
    searches = run.step // MINE_EVERY_STEPS
    if run.data and searches % MINE_DATA_EVERY == 0:
        paths = list(run.data)
        path = paths[int(run.rng.integers(len(paths)))]
        lesson = run.data[path]
    else:
        path = min(reversed(run.lessons), key=lambda path: run.looks.get(path, 0))
        lesson = run.lessons[path]
    run.looks[path] = run.looks.get(path, 0) + 1
    run.mistakes[path] = false_peaks(averaged(run, plan), lesson)


def false_peaks(network: Network, lesson: Lesson) -> NDArray[np.float32]:
    """Return [count, 2] of row, column of the peaks of a lesson that are no calcification, worst first.

    Where nothing is asked, nobody knows whether a peak is one.
    """
    prepared = prepared_of(lesson)
    points = points_of(maps_of(network, prepared.image), prepared, lowest_score=MISTAKE_SCORE)
    places = np.stack([points.rows, points.columns], axis=1)
    truth = lesson.specks[:, :2].astype(np.float64)
    reach = np.fmax(0.45, lesson.specks[:, 2] / 2 + 0.25) / lesson.spacing_mm
    apart = np.linalg.norm(places[:, None] - truth[None], axis=2) > reach[None]
    large = np.array([macro_at(lesson.macro, *place) for place in places], dtype=np.bool_)
    asked = np.array(
        [lesson.weight[int(row / CELL), int(column / CELL)] for row, column in places], dtype=np.bool_
    )
    wrong = apart.all(axis=1) & ~large & asked
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


def _average(run: Run) -> None:
    """Let the averaged weights follow (exponential moving average, short at first)."""
    keep = min(LONGEST_AVERAGE, (1 + run.step) / (10 + run.step))
    for name, value in run.network.state_dict().items():
        if value.dtype.is_floating_point:
            run.average[name].lerp_(value.detach(), 1 - keep)
        else:
            run.average[name].copy_(value)
