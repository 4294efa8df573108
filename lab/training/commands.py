"""mammocalc train: from nothing to a weights folder, with one command."""

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from lab.datasets import DatasetKind

EXTRA, NEEDS = "lab", ("torch", "matplotlib")
"""What brings these commands, and what they cannot do without."""
WINDOWS_PER_IMAGE = 4
"""Validation windows for each whole validation image."""
SMOKE_SCENES, SMOKE_STEPS, SMOKE_WINDOWS, SMOKE_IMAGES = 8, 10, 12, 2

Minutes = Annotated[
    float, typer.Option(min=0.01, help="About how long to take steps; turned into steps once.")
]
Steps = Annotated[int | None, typer.Option(min=1, help="How many steps to take, however long they last.")]
Validation = Annotated[
    int, typer.Option(min=10, help="Whole images that choose the thresholds (and four windows for each).")
]
Data = Annotated[
    list[str] | None,
    typer.Option(help="KIND=FOLDER: a public data set to mix in; cbis-ddsm, inbreast, vindr, cmmd or bmcd."),
]


def register(app: typer.Typer) -> None:
    """Add this group's commands to mammocalc."""
    app.command("train")(train)


def train(
    *,
    out: Annotated[Path, typer.Option(help="Folder for the weights; made where it is missing.")],
    scenes: Annotated[int, typer.Option(min=8, help="How many synthetic scenes to learn from.")] = 2500,
    minutes: Minutes = 60.0,
    steps: Steps = None,
    seed: Annotated[int, typer.Option(min=0, max=90, help="Seed of the scenes and of the run.")] = 0,
    version: Annotated[str, typer.Option(help="Version of the reader that reports will carry.")] = "0.4.0",
    validation: Validation = 40,
    lessons: Annotated[
        Path | None, typer.Option(help="Where lessons are kept for other runs; none are kept without it.")
    ] = None,
    beginning: Annotated[
        Path | None, typer.Option("--from", help="Weights folder or checkpoint to begin with.")
    ] = None,
    data: Data = None,
    drawing: Annotated[int, typer.Option(min=1, help="Processes that draw scenes beside.")] = 1,
    device: Annotated[
        Literal["auto", "cpu", "cuda"], typer.Option(help="Where steps are taken; auto takes a GPU if any.")
    ] = "auto",
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the checkpoint in OUT.")] = False,
    smoke: Annotated[
        bool, typer.Option("--smoke", help="A few steps from the shipped weights, to see that all works.")
    ] = False,
) -> None:
    """Teach a reader on synthetic scenes, and write its weights, plan, models, card and report into a folder.

    Scenes are drawn by other processes while this one takes steps. Ctrl-C keeps the last checkpoint, and --resume
    goes on from it as if nothing had happened. The same seed, scenes and steps give the same weights on one machine.

    Example: mammocalc train --scenes 2500 --minutes 60 --out weights
    """
    from lab.datasets import UnusableDataset
    from lab.training.checkpoint import NoCheckpoint
    from lab.training.fitting import TooLittleLearned
    from lab.training.supply import DrawingFailed
    from lab.training.teaching import NoGpu, Request, teach
    from mammography.reader.plan import UnusableWeights
    from mammography.reader.weights_folder import SHIPPED_WEIGHTS

    request = Request(
        out=out,
        scenes=SMOKE_SCENES if smoke else scenes,
        minutes=minutes,
        steps=SMOKE_STEPS if smoke else steps,
        seed=seed,
        version=version,
        windows=SMOKE_WINDOWS if smoke else WINDOWS_PER_IMAGE * validation,
        whole=SMOKE_IMAGES if smoke else validation,
        lessons=lessons,
        beginning=(beginning or SHIPPED_WEIGHTS) if smoke else beginning,
        drawing=drawing,
        device=device,
        data=tuple(_data_set(value) for value in data or ()),
        resume=resume,
        command=shlex.join(["mammocalc", *sys.argv[1:]]),
    )
    try:
        teach(request)
    except (NoCheckpoint, NoGpu, UnusableWeights, UnusableDataset) as mistake:
        typer.echo(str(mistake), err=True)
        raise typer.Exit(2) from mistake
    except (DrawingFailed, TooLittleLearned) as failure:
        typer.echo(str(failure), err=True)
        raise typer.Exit(1) from failure
    typer.echo(f"The weights are in {out}; measure them with: mammocalc evaluate --weights {out} --card")


def _data_set(value: str) -> "tuple[DatasetKind, Path]":
    """Return kind and folder of KIND=FOLDER."""
    from lab.datasets import DatasetKind

    kind, _, folder = value.partition("=")
    if kind not in set(DatasetKind) or not folder:
        raise typer.BadParameter(
            f"{value} names no data set: write KIND=FOLDER, with {', '.join(DatasetKind)} as KIND."
        )
    return DatasetKind(kind), Path(folder)
