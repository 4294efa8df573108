"""What every command of the node takes: the settings file."""

from pathlib import Path
from typing import Annotated

import typer

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
