"""mammocalc destination: what waits for each destination, and how it is given up."""

import getpass
import json
from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from mammography.ledger.withdrawals import waiting, withdraw
from node.command_options import AsJson, Config, open_ledger, refuse, settings_of


def destination_commands() -> typer.Typer:
    """Return the group mammocalc destination."""
    group = typer.Typer(no_args_is_help=True, help="Where answers go, and what waits for it.")
    group.command("list")(list_destinations)
    group.command("withdraw")(withdraw_from)
    return group


def list_destinations(as_json: AsJson = False, config: Config = None) -> None:
    """List the destinations of the settings, and any other for which something waits.

    Example: mammocalc destination list --config mammocalc.toml
    """
    configured = {each.name: each for each in settings_of(config).destinations}
    with open_ledger(config) as session:
        held_up = {each.destination: each for each in waiting(session)}
    names = [*configured, *(name for name in held_up if name not in configured)]
    if as_json:
        facts = [
            {
                "name": name,
                "configured": name in configured,
                "objects": held_up[name].objects if name in held_up else 0,
                "studies": held_up[name].studies if name in held_up else 0,
                "oldest": held_up[name].oldest.isoformat() if name in held_up else None,
                "reason": held_up[name].reason if name in held_up else "",
            }
            for name in names
        ]
        typer.echo(json.dumps(facts, indent=2))
        return
    table = Table("destination", "objects waiting", "studies", "since", "why", box=None, pad_edge=False)
    for name in names:
        known = name if name in configured else f"{name}, not in the settings"
        each = held_up.get(name)
        if each is None:
            table.add_row(known, "0", "0", "", "")
        else:
            since = f"{each.oldest:%Y-%m-%d %H:%M:%S}Z"
            table.add_row(known, str(each.objects), str(each.studies), since, each.reason)
    Console().print(table if names else "The settings name no destination, and nothing waits for one.")


def withdraw_from(
    name: Annotated[str, typer.Argument(help="The destination's name.")], config: Config = None
) -> None:
    """Give up everything that waits for a destination; what it has already stays there.

    Example: mammocalc destination withdraw old-pacs --config mammocalc.toml
    """
    commitment = {each.name for each in settings_of(config).destinations if each.commitment}
    with open_ledger(config, to_change=True) as session:
        studies = withdraw(
            session,
            name,
            now=datetime.now(UTC),
            by=getpass.getuser(),
            commitment_destinations=commitment,
        )
    if not studies:
        refuse(f"Nothing waits for {name}; see: mammocalc destination list")
    typer.echo(f"Withdrawn from {name}: the objects of {len(studies)} studies.")
