"""The training run: steps, averaged weights, mined mistakes, checkpoints; stoppable and resumable at any time."""

import math
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
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
MOST_LESSONS = 1000
"""Lessons in memory at once: 6 GB."""
MINE_EVERY_STEPS = 8
MINE_FROM_SHARE = 0.25
"""From here on, one lesson is searched for mistakes every so many steps."""
LOAD_EVERY = timedelta(seconds=60)
SAVE_EVERY = timedelta(seconds=120)
CHECKPOINT_FILE = "checkpoint.pt"
MISTAKE_SCORE = 0.12
"""A peak above this that is no calcification is a mistake worth another look (hard negative)."""


class Progress(NamedTuple):
    """How far a run is: steps, share of the time (0 to 1), lessons in memory, and the parts of the last loss."""

    step: int
    share: float
    lessons: int
    losses: NDArray[np.float64]


@dataclass(slots=True, kw_only=True)
class Run:
    """A training run under way. `mistakes`: per lesson, [count, 2] of row, column of false peaks."""

    network: Network
    optimizer: torch.optim.Optimizer
    average: dict[str, Tensor]
    morphology_weights: Tensor
    rng: np.random.Generator
    step: int = 0
    share: float = 0.0
    """How much of the run is done, 0 to 1."""
    seconds: float = 0.0
    """How long steps have been taken, in all sessions."""
    lessons: dict[Path, Lesson] = field(default_factory=dict)
    seen: set[Path] = field(default_factory=set)
    """Every lesson that was ever taken up."""
    mistakes: dict[Path, NDArray[np.float32]] = field(default_factory=dict)


def begin(plan: ReaderPlan, *, seed: int) -> Run:
    """Return a run that has not taken a step."""
    torch.manual_seed(seed)
    network = network_for(plan).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return Run(
        network=network,
        optimizer=torch.optim.AdamW(network.parameters(), LEARNING_RATE, weight_decay=1e-4),
        average={name: value.detach().clone() for name, value in network.state_dict().items()},
        morphology_weights=torch.ones(len(plan.morphologies)),
        rng=np.random.default_rng(seed),
    )


def load_lessons(run: Run, folder: Path) -> None:
    """Take up the newest lessons, let the oldest go, and weigh rare morphologies up."""
    newest = sorted(folder.glob("lesson-???-??????.npz"))[-MOST_LESSONS:]
    run.lessons = {path: run.lessons.get(path) or read_lesson(path) for path in newest}
    run.seen.update(newest)
    run.mistakes = {path: places for path, places in run.mistakes.items() if path in run.lessons}
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


def learn(run: Run, plan: ReaderPlan, *, lessons: Path, out: Path, lasting: timedelta) -> Iterator[Progress]:
    """Take steps for a while, from the share already done to the whole; yields after every step.

    New lessons are taken up as they appear, and a checkpoint is written every SAVE_EVERY and at the end.
    """
    began, first_share, seconds_before = time.monotonic(), run.share, run.seconds
    loaded = saved = began
    while run.share < 1.0:
        parts = take_step(run)
        if run.share >= MINE_FROM_SHARE and run.step % MINE_EVERY_STEPS == 0:
            mine(run, plan)
        now = time.monotonic()
        done = (now - began) / max(lasting.total_seconds(), 1e-3)
        run.share = min(1.0, first_share + (1 - first_share) * done)
        run.seconds = seconds_before + now - began
        if now - loaded > LOAD_EVERY.total_seconds():
            load_lessons(run, lessons)
            loaded = time.monotonic()
        if now - saved > SAVE_EVERY.total_seconds():
            save(run, out / CHECKPOINT_FILE)
            log.info(
                "checkpoint-saved", step=run.step, share=round(run.share, 3), losses=parts.round(3).tolist()
            )
            saved = now
        yield Progress(run.step, run.share, len(run.lessons), parts)
    save(run, out / CHECKPOINT_FILE)


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
    """Write a checkpoint, whole or not at all."""
    state: dict[str, Any] = {
        "network": run.network.state_dict(),
        "average": run.average,
        "optimizer": run.optimizer.state_dict(),
        "step": run.step,
        "share": run.share,
        "seconds": run.seconds,
    }
    partial = path.with_suffix(f".{os.getpid()}")
    torch.save(state, partial)
    partial.replace(path)


def resume(run: Run, path: Path) -> None:
    """Go on from a checkpoint of our own, or begin anew from the weights of a finished run.

    Nothing in the file is executed.
    """
    state = torch.load(path, weights_only=True)
    run.network.load_state_dict(state["network"])
    run.optimizer.load_state_dict(state["optimizer"])
    run.average = state["average"]
    run.step, share = int(state["step"]), float(state["share"])
    run.share, run.seconds = (share if share < 1.0 else 0.0), float(state.get("seconds", 0.0))
    log.info("run-resumed", step=run.step, share=round(run.share, 3))


def _average(run: Run) -> None:
    """Let the averaged weights follow (exponential moving average, short at first)."""
    keep = min(LONGEST_AVERAGE, (1 + run.step) / (10 + run.step))
    for name, value in run.network.state_dict().items():
        if value.dtype.is_floating_point:
            run.average[name].lerp_(value.detach(), 1 - keep)
        else:
            run.average[name].copy_(value)
