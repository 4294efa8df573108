"""mammocalc evaluate: what a reader finds on synthetic studies that it never learned from."""

import json
import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

EXTRA, NEEDS = "lab", ("torch",)
"""What brings these commands, and what they cannot do without."""


def register(app: typer.Typer) -> None:
    """Add this group's commands to mammocalc."""
    app.command("evaluate")(evaluate)


def evaluate(
    *,
    studies: Annotated[int, typer.Option(min=1, help="How many synthetic studies of four views.")] = 25,
    seed: Annotated[int, typer.Option(min=0, max=999_999_999, help="Seed of the first study.")] = 1,
    weights: Annotated[
        Path | None, typer.Option(help="Weights folder; the shipped weights without it.")
    ] = None,
    easy: Annotated[
        bool, typer.Option("--easy", help="Only studies whose lesions anyone would see.")
    ] = False,
    spacing_mm: Annotated[
        float, typer.Option(min=0.05, max=0.15, help="Pitch of the detector in mm.")
    ] = 0.07,
    as_json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON.")] = False,
    card: Annotated[
        bool, typer.Option("--card", help="Add the figures to the card of the weights folder.")
    ] = False,
) -> None:
    """Measure the reader on synthetic studies whose truth is known.

    About 35 s of processor time per study. Seeds below 1,000,000,000 are never learned from.

    Example: mammocalc evaluate --studies 25 --seed 1
    """
    from lab.evaluation import measurement
    from mammography.progress import tracked
    from mammography.reader.plan import UnusableWeights
    from mammography.reader.reader import Reader
    from mammography.reader.weights_folder import SHIPPED_WEIGHTS

    try:
        reader = Reader.load(weights)
    except UnusableWeights as refusal:
        typer.echo(str(refusal), err=True)
        raise typer.Exit(2) from refusal
    steps = measurement.measure(range(seed, seed + studies), reader, easy=easy, spacing_mm=spacing_mm)
    results = list(tracked(steps, label="reading synthetic images", total=4 * studies))
    figures = measurement.figures_of(results, reader, seed=seed)
    said = [word for word in sys.argv[1:] if word not in ("--card", "--json")]
    command = shlex.join(["mammocalc", *said])
    if card:
        from lab.training.finishing import write_measured

        write_measured(weights or SHIPPED_WEIGHTS, measurement.told(figures, command))
    if as_json:
        typer.echo(json.dumps(measurement.as_json(figures) | {"command": command}, indent=2))
    else:
        typer.echo(measurement.told(figures, command))
        typer.echo(
            f"\nMedian {figures.seconds_per_image:.1f} s per image from file to findings on this machine."
        )
