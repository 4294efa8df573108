"""A run in a file: all that its next step depends on, so that a killed run goes on as if nothing had happened."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import structlog
import torch
from torch import Tensor

from lab.training.run import Course, Run

log = structlog.get_logger()

CHECKPOINT_FILE = "checkpoint.pt"


class NoCheckpoint(Exception):
    """The file is no checkpoint of a run; str() is the sentence that says so."""


def save(run: Run, path: Path) -> None:
    """Write a checkpoint, whole or not at all."""
    state: dict[str, Any] = {
        "seed": run.seed,
        "network": run.network.state_dict(),
        "average": run.average,
        "optimizer": run.optimizer.state_dict(),
        "step": run.step,
        "course": (run.course.steps, run.course.lessons, run.course.crops),
        "seconds": run.seconds,
        "random": json.dumps(run.rng.bit_generator.state),
        "mistakes": {path.name: torch.from_numpy(places) for path, places in run.mistakes.items()},
        "looks": {path.name: count for path, count in run.looks.items()},
        "curve": torch.tensor(run.curve, dtype=torch.float32),
    }
    partial = path.with_suffix(f".{os.getpid()}")
    torch.save(state, partial)
    partial.replace(path)
    log.info("checkpoint-saved", step=run.step, share=round(run.share, 3))


def course_of(path: Path) -> tuple[int, Course]:
    """Return the seed and the course of a checkpoint's run.

    Raises:
        NoCheckpoint: if the file is none.
    """
    state = _opened(path)
    steps, lessons, crops = state["course"]
    return int(state["seed"]), Course(steps=int(steps), lessons=int(lessons), crops=int(crops))


def resume(run: Run, path: Path, *, folder: Path) -> None:
    """Let a run that has just begun go on from a checkpoint; `folder` holds the lessons.

    Raises:
        NoCheckpoint: if the file is none, or one of another network.
    """
    state = _opened(path)
    seed, course = course_of(path)
    try:
        run.network.load_state_dict(state["network"])
    except RuntimeError as cause:
        raise NoCheckpoint(f"{path} is a checkpoint of another network.") from cause
    run.optimizer.load_state_dict(state["optimizer"])
    run.average = {name: value.to(run.device) for name, value in state["average"].items()}
    run.seed, run.course = seed, course
    run.step, run.seconds = int(state["step"]), float(state["seconds"])
    run.rng.bit_generator.state = json.loads(state["random"])
    run.mistakes = {folder / name: places.numpy() for name, places in state["mistakes"].items()}
    run.looks = {folder / name: int(count) for name, count in state["looks"].items()}
    run.curve = np.asarray(state["curve"]).tolist()
    log.info("run-resumed", step=run.step, share=round(run.share, 3))


def averaged_weights(path: Path) -> dict[str, Tensor]:
    """Return the averaged weights of a checkpoint.

    Raises:
        NoCheckpoint: if the file is none.
    """
    average: dict[str, Tensor] = _opened(path)["average"]
    return average


def _opened(path: Path) -> dict[str, Any]:
    """Return what a checkpoint holds, on the processor; nothing in the file is executed."""
    try:
        state = torch.load(path, weights_only=True, map_location="cpu")
    except (OSError, RuntimeError, ValueError, EOFError, KeyError, IndexError) as cause:
        raise NoCheckpoint(f"{path} is no checkpoint that mammocalc train wrote.") from cause
    if not isinstance(state, dict) or "looks" not in state:
        raise NoCheckpoint(f"{path} is no checkpoint that this version of mammocalc train wrote.")
    return state
