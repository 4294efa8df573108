"""mammocalc reader: what the weights in use are, what they were taught on, and what was measured of them."""

import json
from pathlib import Path
from typing import Annotated

import typer

EXTRA, NEEDS = "worker", ("torch",)
"""What brings these commands, and what they cannot do without."""


def register(app: typer.Typer) -> None:
    """Add mammocalc reader card."""
    group = typer.Typer(no_args_is_help=True, help="The reader: what its weights are.")
    group.callback()(_group)
    group.command("card")(card)
    app.add_typer(group, name="reader")


def _group() -> None:
    """Say what the reader is."""


def card(
    weights: Annotated[
        Path | None, typer.Option(help="Weights folder; the shipped weights without it.")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print name, thresholds, checksums and card as JSON.")
    ] = False,
) -> None:
    """Check the weights and print their card: data, figures with intervals, limits.

    Example: mammocalc reader card --weights build/weights
    """
    from mammography.reader.plan import CARD_FILE, UnusableWeights
    from mammography.reader.weights_folder import SHIPPED_WEIGHTS, open_weights

    folder = weights or SHIPPED_WEIGHTS
    try:
        plan = open_weights(folder).plan
        text = (folder / CARD_FILE).read_text()
    except UnusableWeights as refusal:
        typer.echo(str(refusal), err=True)
        raise typer.Exit(2) from refusal
    except OSError as cause:
        typer.echo(f"The folder {folder} holds no {CARD_FILE}: mammocalc train writes one.", err=True)
        raise typer.Exit(2) from cause
    if as_json:
        facts = plan.model_dump(
            mode="json",
            include={"name", "version", "trained_on", "files", "operating_point", "operating_points"},
        )
        typer.echo(json.dumps({"folder": str(folder), **facts, "card": text}, indent=2))
        return
    typer.echo(text.rstrip())
    checked = "\n".join(f"  {digest}  {name}" for name, digest in sorted(plan.files.items()))
    typer.echo(f"\nThe files in {folder} are those that the plan was made for (SHA-256):\n{checked}")
