"""The node's commands: up, its roles one by one, and config."""

import json
from collections.abc import Callable

import typer

from node.alarm_commands import alarm_commands
from node.caller_commands import caller_commands
from node.command_options import Config, settings_of
from node.destination_commands import destination_commands
from node.disk_commands import disk
from node.study_commands import study_commands

ROLE_HELP = {
    "receive": "Listen for associations: C-ECHO, C-STORE and commitment reports.",
    "dispatch": "Judge what has arrived, ring for the workers, compose the answers.",
    "deliver": "Send the answers to their destinations and ask for Storage Commitment.",
    "console": "Serve the web page that shows where every study is.",
}


EXTRA, NEEDS = "node", ("pynetdicom", "alembic", "fastapi")
"""What brings these commands, and what they cannot do without."""


def register(app: typer.Typer) -> None:
    """Add the node's commands to mammocalc."""
    app.command("up", help=up.__doc__)(up)
    for role, text in ROLE_HELP.items():
        app.command(role, help=text)(_role_command(role))
    app.command("disk", help=disk.__doc__)(disk)
    app.add_typer(study_commands(), name="study")
    app.add_typer(caller_commands(), name="caller")
    app.add_typer(alarm_commands(), name="alarm")
    app.add_typer(destination_commands(), name="destination")
    config = typer.Typer(no_args_is_help=True, help="Check or print the settings.")
    config.command("check")(check)
    config.command("show")(show_settings)
    app.add_typer(config, name="config")


def up(config: Config = None) -> None:
    """Run the whole node: every role, a worker, and a broker where none is configured, until Ctrl-C.

    Example: mammocalc up --config mammocalc.toml
    """
    from node.__main__ import run_all
    from node.composition import CannotStart

    try:
        run_all(settings_of(config), config)
    except CannotStart as reason:
        typer.echo(str(reason), err=True)
        raise typer.Exit(1) from reason


def _role_command(role: str) -> Callable[[Config], None]:
    """Return the command that runs one role."""

    def command(config: Config = None) -> None:
        from node.__main__ import run_role
        from node.composition import CannotStart

        try:
            run_role(role, settings_of(config))
        except CannotStart as reason:
            typer.echo(str(reason), err=True)
            raise typer.Exit(1) from reason

    return command


def check(config: Config = None) -> None:
    """Say every mistake in the settings at once, or that there is none.

    Example: mammocalc config check --config mammocalc.toml
    """
    settings = settings_of(config)
    typer.echo(f"The settings are right: {settings.node.ae_title} on port {settings.node.port}, ", nl=False)
    who = f"{len(settings.callers)} caller(s)" if settings.callers else "only this machine may call"
    typer.echo(f"{len(settings.destinations)} destination(s), {who}.")


def show_settings(config: Config = None) -> None:
    """Print the settings that are in force, defaults included, as JSON; passwords are left out.

    Example: mammocalc config show --config mammocalc.toml
    """
    shown = settings_of(config).model_dump(mode="json")
    scheme, _, rest = shown["ledger"]["url"].rpartition("@")
    if scheme:
        shown["ledger"]["url"] = f"{scheme.split('://')[0]}://...@{rest}"
    typer.echo(json.dumps(shown, indent=2))
