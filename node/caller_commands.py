"""mammocalc caller: who may call, who was turned away, and what lets them in."""

import json
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from mammography.ledger.strangers import strangers
from mammography.ledger.studies import refusals
from node.command_options import AsJson, Config, open_ledger, settings_of


def caller_commands() -> typer.Typer:
    """Return the group mammocalc caller."""
    group = typer.Typer(no_args_is_help=True, help="Who may call the node, and who was turned away.")
    group.command("list")(list_callers)
    group.command("strangers")(list_strangers)
    group.command("refused")(list_refused)
    return group


def list_callers(as_json: AsJson = False, config: Config = None) -> None:
    """List who may call, as the settings say.

    Example: mammocalc caller list --config mammocalc.toml
    """
    settings = settings_of(config)
    listed = [{"ae_title": each.ae_title, "host": each.host} for each in settings.callers]
    if as_json:
        typer.echo(json.dumps(listed, indent=2))
        return
    for each in listed:
        typer.echo(f"{each['ae_title']:16}  {each['host'] or 'from anywhere'}")
    if not listed:
        typer.echo("Nobody is listed under [[callers]]: only programs on this machine may call.")


def list_strangers(
    limit: Annotated[int, typer.Option(min=1, help="How many, whoever called last first.")] = 50,
    as_json: AsJson = False,
    config: Config = None,
) -> None:
    """List who was turned away, and what to add to the settings to let them in.

    Example: mammocalc caller strangers --config mammocalc.toml
    """
    with open_ledger(config) as session:
        rows = strangers(session, limit=limit)
        if as_json:
            names = ("calling_ae_title", "address", "called_ae_title", "reason", "attempts")
            found = [
                {name: getattr(row, name) for name in names}
                | {"first_at": row.first_at.isoformat(), "last_at": row.last_at.isoformat()}
                for row in rows
            ]
            typer.echo(json.dumps(found, indent=2))
            return
        table = Table(
            "last call", "calling", "address", "called", "reason", "calls", box=None, pad_edge=False
        )
        for row in rows:
            table.add_row(
                f"{row.last_at:%Y-%m-%d %H:%M:%S}Z",
                row.calling_ae_title,
                row.address,
                row.called_ae_title,
                row.reason,
                str(row.attempts),
            )
        Console().print(table if rows else "Nobody was turned away.")
        unlisted = next((row for row in rows if row.reason.startswith("calling")), None)
        if unlisted:
            typer.echo("To let one in, add it to the settings and restart the receive role, such as:")
            typer.echo(f'[[callers]]\nae_title = "{unlisted.calling_ae_title}"\nhost = "{unlisted.address}"')


def list_refused(
    limit: Annotated[int, typer.Option(min=1, help="How many, the newest first.")] = 50,
    as_json: AsJson = False,
    config: Config = None,
) -> None:
    """List the instances that were refused, what their senders were told, and where their bytes are kept.

    Example: mammocalc caller refused --config mammocalc.toml
    """
    data_dir = settings_of(config).node.data_dir
    with open_ledger(config) as session:
        rows = refusals(session, limit=limit)
        kept = {row.number: str(data_dir / row.path) for row in rows if row.path}
        if as_json:
            facts = [
                {
                    "at": row.at.isoformat(),
                    "calling_ae_title": row.calling_ae_title,
                    "sop_instance_uid": row.sop_instance_uid,
                    "reason": row.reason,
                    "path": kept.get(row.number, ""),
                }
                for row in rows
            ]
            typer.echo(json.dumps(facts, indent=2))
            return
        table = Table("at", "calling", "reason", "kept in", box=None, pad_edge=False)
        for row in rows:
            table.add_row(
                f"{row.at:%Y-%m-%d %H:%M:%S}Z", row.calling_ae_title, row.reason, kept.get(row.number, "")
            )
        Console().print(table if rows else "Nothing was refused.")
