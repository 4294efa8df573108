"""The one command, mammocalc, whose groups the doors and the lab register through entry points."""

import logging
import os
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec
from typing import Annotated

import typer

from mammography import __version__
from mammography.telemetry.logging import configure_logging

GROUP = "mammocalc.commands"


def command_line() -> typer.Typer:
    """Return the whole command: every group whose packages are installed; the others say what brings them."""
    app = typer.Typer(
        name="mammocalc",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        help="Reads mammograms for calcifications beside the PACS. Not a medical device.",
    )
    app.callback()(_options)
    missing = [notice for entry in sorted(entry_points(group=GROUP)) if (notice := _register(app, entry))]
    if missing:
        app.info.epilog = "\n\n".join(missing)
    return app


def _say_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"mammocalc {__version__}")
        raise typer.Exit


def _options(
    version: Annotated[  # noqa: ARG001  answered by its callback
        bool,
        typer.Option("--version", is_eager=True, callback=_say_version, help="Print the version and stop."),
    ] = False,
) -> None:
    """Read mammograms for calcifications beside the PACS. Not a medical device."""
    configure_logging("command", lowest=logging.WARNING)  # the roles of a node tell more


def _register(app: typer.Typer, entry: EntryPoint) -> str | None:
    """Let one group add its commands; return a sentence where packages that its NEEDS names are not installed."""
    group = import_module(entry.module)
    missing = [package for package in getattr(group, "NEEDS", ()) if find_spec(package) is None]
    if not missing:
        getattr(group, entry.attr)(app)
        return None
    return f"The {entry.name} commands need {' and '.join(missing)}: pip install 'mammocalc\\[{group.EXTRA}]' brings it."


def main() -> None:
    """Run the command.

    Threads of one computation that wait for each other sleep instead of spinning: where processors are shared,
    spinning doubles the processor time of a network. OpenMP reads the variable once, when torch is imported.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    command_line()()
