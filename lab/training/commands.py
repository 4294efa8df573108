"""mammocalc train: from nothing to a weights folder, with one command."""

import multiprocessing
import os
import shlex
import sys
import time
from collections.abc import Iterable, Iterator
from datetime import timedelta
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from lab.training.run import Progress, Run
    from mammography.reader.plan import ReaderPlan

FEWEST_SCENES = 8
"""Lessons that must lie ready before the first step."""


EXTRA, NEEDS = "lab", ("torch",)
"""What brings these commands, and what they cannot do without."""


def register(app: typer.Typer) -> None:
    """Add this group's commands to mammocalc."""
    app.command("train")(train)


def train(
    *,
    out: Annotated[Path, typer.Option(help="Folder for the weights; made where it is missing.")],
    scenes: Annotated[
        int, typer.Option(min=FEWEST_SCENES, help="How many synthetic scenes to learn from.")
    ] = 2500,
    minutes: Annotated[float, typer.Option(min=0.0, help="How long to take steps.")] = 60.0,
    seed: Annotated[int, typer.Option(min=0, max=90, help="Seed of the scenes and of the run.")] = 0,
    version: Annotated[str, typer.Option(help="Version of the reader that reports will carry.")] = "0.1.0",
    validation: Annotated[
        int, typer.Option(min=10, help="Whole images that choose the thresholds (and four windows for each).")
    ] = 40,
    lessons: Annotated[
        Path | None, typer.Option(help="Where lessons are kept; OUT/lessons without it.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the checkpoint in OUT.")] = False,
) -> None:
    """Teach a reader on synthetic scenes, and write its weights, plan, models and card into a folder.

    Scenes are drawn by a second process while the first takes steps. Ctrl-C keeps the last checkpoint.

    Example: mammocalc train --scenes 2500 --minutes 60 --out weights
    """
    from lab.training import finishing, run
    from lab.training.fitting import TooLittleLearned
    from lab.training.scenes import first_plan
    from mammography.progress import tracked

    plan = first_plan().model_copy(update={"version": version})
    state = run.begin(plan, seed=seed)
    out.mkdir(parents=True, exist_ok=True)
    if resume:
        if not (out / run.CHECKPOINT_FILE).exists():
            raise typer.BadParameter(
                f"{out} holds no {run.CHECKPOINT_FILE} to go on from: leave out --resume."
            )
        run.resume(state, out / run.CHECKPOINT_FILE)
    if minutes:
        _learn(state, plan, lessons or out / "lessons", out, scenes=scenes, seed=seed, minutes=minutes)
    history = finishing.History(
        steps=state.step,
        minutes=state.seconds / 60,
        scenes=len(state.seen),
        seed=seed,
        command=shlex.join(["mammocalc", *sys.argv[1:]]),
    )
    windows = 4 * validation
    steps = finishing.finish(state.average, plan, out, windows=windows, whole=validation, history=history)
    try:
        for _ in tracked(
            steps,
            label="choosing thresholds",
            total=finishing.scenes_to_look_at(windows=windows, whole=validation),
        ):
            pass
    except TooLittleLearned as refusal:
        typer.echo(str(refusal), err=True)
        raise typer.Exit(1) from refusal
    typer.echo(f"The weights are in {out}; measure them with: mammocalc evaluate --weights {out} --card")


def _learn(
    state: "Run", plan: "ReaderPlan", folder: Path, out: Path, *, scenes: int, seed: int, minutes: float
) -> None:
    """Draw lessons beside, and take steps on those that are there."""
    import torch

    from lab.training import run
    from mammography.progress import tracked

    torch.set_num_threads(1)  # the other core draws; a step gains little from two
    drawing = multiprocessing.get_context("spawn").Process(
        target=_draw_lessons, args=(folder, scenes, seed), daemon=True
    )
    drawing.start()
    try:
        for _ in tracked(_arrivals(folder, drawing), label="first scenes", total=FEWEST_SCENES):
            pass
        run.load_lessons(state, folder)
        steps = run.learn(state, plan, lessons=folder, out=out, lasting=timedelta(minutes=minutes))
        for _ in tracked(_thousandths(steps), label="learning", total=1000):
            pass
    finally:
        drawing.terminate()
        drawing.join()


def _draw_lessons(folder: Path, scenes: int, seed: int) -> None:
    """Write the lessons of a run, in a process of its own that stands back behind the others."""
    import torch

    from lab.training.scenes import write_lessons

    os.nice(10)
    torch.set_num_threads(1)
    for _ in write_lessons(folder, scenes=scenes, seed=seed):
        pass


def _arrivals(folder: Path, drawing: BaseProcess) -> Iterator[int]:
    """Yield once for each of the first lessons as it arrives."""
    for number in range(1, FEWEST_SCENES + 1):
        while len(list(folder.glob("lesson-*.npz"))) < number:
            if not drawing.is_alive():
                raise typer.Exit(1)  # it has said why
            time.sleep(0.2)
        yield number


def _thousandths(steps: "Iterable[Progress]") -> Iterator[int]:
    """Yield once for every thousandth of a run that is done."""
    shown = 0
    for progress in steps:
        while shown < int(progress.share * 1000):
            shown += 1
            yield shown
