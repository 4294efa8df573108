"""mammocalc train: from nothing to a weights folder, with one command."""

import multiprocessing
import os
import shlex
import sys
import time
from collections.abc import Iterable, Iterator
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Self

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
    minutes: Annotated[
        float, typer.Option(min=0.0, help="About how long to take steps; turned into steps once.")
    ] = 60.0,
    steps: Annotated[
        int | None, typer.Option(min=1, help="How many steps to take, however long they last.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, max=90, help="Seed of the scenes and of the run.")] = 0,
    version: Annotated[str, typer.Option(help="Version of the reader that reports will carry.")] = "0.1.0",
    validation: Annotated[
        int, typer.Option(min=10, help="Whole images that choose the thresholds (and four windows for each).")
    ] = 40,
    lessons: Annotated[
        Path | None, typer.Option(help="Where lessons are kept; OUT/lessons without it.")
    ] = None,
    beginning: Annotated[
        Path | None, typer.Option("--from", help="Weights folder to begin with, instead of nothing.")
    ] = None,
    drawing: Annotated[int, typer.Option(min=1, help="Processes that draw scenes beside.")] = 1,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the checkpoint in OUT.")] = False,
) -> None:
    """Teach a reader on synthetic scenes, and write its weights, plan, models and card into a folder.

    Scenes are drawn by other processes while this one takes steps. Ctrl-C keeps the last checkpoint, and --resume
    goes on from it as if nothing had happened. The same seed, scenes and steps give the same weights on one machine.

    Example: mammocalc train --scenes 2500 --minutes 60 --out weights
    """
    from lab.training import finishing, run
    from lab.training.fitting import TooLittleLearned
    from lab.training.scenes import first_plan
    from mammography.progress import tracked

    plan = first_plan().model_copy(update={"version": version})
    if resume and not (out / run.CHECKPOINT_FILE).exists():
        raise typer.BadParameter(f"{out} holds no {run.CHECKPOINT_FILE} to go on from: leave out --resume.")
    out.mkdir(parents=True, exist_ok=True)
    supply = Supply(lessons or out / "lessons", scenes=scenes, seed=seed, processes=drawing)
    with supply:
        state = _begun(plan, supply, seed=seed, steps=steps, minutes=minutes, beginning=beginning)
        if resume:
            run.resume(state, out / run.CHECKPOINT_FILE, folder=supply.folder)
        learning = run.learn(state, plan, lessons=supply.first, out=out)
        for _ in tracked(_thousandths(learning), label="learning", total=1000):
            pass
    history = finishing.History(
        steps=state.step,
        minutes=state.seconds / 60,
        scenes=len(state.seen),
        seed=seed,
        command=shlex.join(["mammocalc", *sys.argv[1:]]),
    )
    windows = 4 * validation
    choosing = finishing.finish(state.average, plan, out, windows=windows, whole=validation, history=history)
    try:
        for _ in tracked(
            choosing,
            label="choosing thresholds",
            total=finishing.scenes_to_look_at(windows=windows, whole=validation),
        ):
            pass
    except TooLittleLearned as refusal:
        typer.echo(str(refusal), err=True)
        raise typer.Exit(1) from refusal
    typer.echo(f"The weights are in {out}; measure them with: mammocalc evaluate --weights {out} --card")


class Supply:
    """The lessons of a run, drawn by processes of their own that stand back behind the others."""

    def __init__(self, folder: Path, *, scenes: int, seed: int, processes: int) -> None:
        self.folder = folder
        self.scenes = scenes
        self._seed = seed
        self._processes = processes
        self._drawing: list[BaseProcess] = []

    def __enter__(self) -> Self:
        """Begin to draw."""
        spawning = multiprocessing.get_context("spawn")
        for part in range(self._processes):
            drawing = spawning.Process(
                target=_draw_lessons,
                args=(self.folder, self.scenes, self._seed, (part, self._processes)),
                daemon=True,
            )
            drawing.start()
            self._drawing.append(drawing)
        return self

    def __exit__(self, *_: object) -> None:
        """Stop drawing."""
        for drawing in self._drawing:
            drawing.terminate()
            drawing.join()

    def first(self, count: int) -> list[Path]:
        """Return the files of the first `count` lessons; waits until they are there."""
        from lab.training.scenes import lesson_file

        paths = [self.folder / lesson_file(number, seed=self._seed) for number in range(count)]
        for path in reversed(paths):
            while not path.exists():
                if any(drawing.exitcode for drawing in self._drawing):
                    raise typer.Exit(1)  # it has said why
                time.sleep(0.2)
        return paths


def _begun(
    plan: "ReaderPlan",
    supply: Supply,
    *,
    seed: int,
    steps: int | None,
    minutes: float,
    beginning: Path | None,
) -> "Run":
    """Return a run that has not taken a step."""
    import torch

    from lab.training import run
    from mammography.progress import tracked
    from mammography.reader.weights_folder import trainable_network

    torch.set_num_threads(1)  # the other core draws; a step gains little from two

    def begin(count: int) -> "Run":
        state = run.begin(plan, seed=seed, course=run.Course(steps=count, lessons=supply.scenes))
        if beginning is not None:
            run.start_from(state, trainable_network(beginning))
        return state

    if steps is not None:
        return begin(steps)
    if not minutes:
        return begin(1)
    waiting = (supply.first(number + 1) for number in range(FEWEST_SCENES))
    for _ in tracked(waiting, label="first scenes", total=FEWEST_SCENES):
        pass
    trial = begin(1)
    run.load_lessons(trial, supply.first(FEWEST_SCENES))
    return begin(max(1, round(minutes * 60 / run.seconds_per_step(trial))))


def _draw_lessons(folder: Path, scenes: int, seed: int, part: tuple[int, int]) -> None:
    """Write a part of the lessons of a run, in a process of its own."""
    import torch

    from lab.training.scenes import write_lessons

    os.nice(10)
    torch.set_num_threads(1)
    for _ in write_lessons(folder, scenes=scenes, seed=seed, part=part):
        pass


def _thousandths(steps: "Iterable[Progress]") -> Iterator[int]:
    """Yield once for every thousandth of a run that is done."""
    shown = 0
    for progress in steps:
        while shown < int(progress.share * 1000):
            shown += 1
            yield shown
