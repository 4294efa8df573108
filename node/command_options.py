"""What every command of the node takes: the settings file, and the ledger that it names."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from mammography.ledger.engine import Ledger
from mammography.settings_file import SettingsRefused, load_settings
from node.settings import NodeSettings

Config = Annotated[
    Path | None,
    typer.Option(
        "--config", help="Settings file (TOML); else the one that MAMMOCALC_CONFIG names; else defaults."
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for machines instead of text.")]


def settings_of(config: Path | None) -> NodeSettings:
    """Return the settings, or end the command with every mistake in them."""
    try:
        return load_settings(NodeSettings, config)
    except SettingsRefused as refused:
        typer.echo(str(refused), err=True)
        raise typer.Exit(2) from refused


@contextmanager
def open_ledger(config: Path | None, *, to_change: bool = False) -> Iterator[Session]:
    """Open the ledger that the settings name, for one command; looking waits for nobody who writes."""
    url = settings_of(config).ledger.url
    file = Path(url.removeprefix("sqlite:///"))
    if url.startswith("sqlite:///") and not file.exists():
        refuse(f"There is no ledger at {file}; start the node once with: mammocalc up")
    ledger = Ledger(url)
    try:
        with ledger.begin() if to_change else ledger.read() as session:
            yield session
    except OperationalError as away:
        refuse(f"The ledger cannot be opened: {away.orig}.")
    finally:
        ledger.close()


def refuse(sentence: str) -> NoReturn:
    """End the command with a sentence."""
    typer.echo(sentence, err=True)
    raise typer.Exit(2)
