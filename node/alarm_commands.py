"""mammocalc alarm: what a person has to look at."""

import getpass
import json
from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from mammography.ledger.alarms import alarm_seen, alarms
from node.command_options import AsJson, Config, open_ledger, refuse


def alarm_commands() -> typer.Typer:
    """Return the group mammocalc alarm."""
    group = typer.Typer(no_args_is_help=True, help="What a person has to look at.")
    group.command("list")(list_alarms)
    group.command("seen")(seen)
    return group


def list_alarms(
    everything: Annotated[bool, typer.Option("--all", help="Those that are over, too.")] = False,
    as_json: AsJson = False,
    config: Config = None,
) -> None:
    """List the alarms that are raised, the newest first.

    Example: mammocalc alarm list --config mammocalc.toml
    """
    with open_ledger(config) as session:
        rows = alarms(session, all_of_them=everything)
        if as_json:
            facts = [
                {
                    "number": row.number,
                    "kind": row.kind,
                    "subject": row.subject,
                    "sentence": row.sentence,
                    "raised_at": row.raised_at.isoformat(),
                    "last_at": row.last_at.isoformat(),
                    "times": row.times,
                    "over_at": row.over_at.isoformat() if row.over_at else None,
                    "over_because": row.over_because,
                }
                for row in rows
            ]
            typer.echo(json.dumps(facts, indent=2))
            return
        table = Table("number", "last", "times", "what happened", "over", box=None, pad_edge=False)
        for row in rows:
            table.add_row(
                str(row.number),
                f"{row.last_at:%Y-%m-%d %H:%M:%S}Z",
                str(row.times),
                row.sentence,
                f"{row.over_at:%Y-%m-%d %H:%M:%S}Z: {row.over_because}" if row.over_at else "",
            )
        Console().print(table if rows else "No alarm is raised.")


def seen(
    number: Annotated[int, typer.Argument(help="The alarm's number.", min=1)], config: Config = None
) -> None:
    """End an alarm, because you have seen to it.

    Example: mammocalc alarm seen 3 --config mammocalc.toml
    """
    with open_ledger(config, to_change=True) as session:
        if not alarm_seen(session, number, now=datetime.now(UTC), by=getpass.getuser()):
            refuse(f"No alarm {number} is raised; see: mammocalc alarm list")
    typer.echo(f"Alarm {number} is over.")
