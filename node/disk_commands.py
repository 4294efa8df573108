"""mammocalc disk: what fills the data folder, and what retention will free."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from rich.console import Console
from rich.table import Table

from mammography.study import StudyState
from node.command_options import AsJson, Config, open_ledger, refuse, settings_of

if TYPE_CHECKING:
    from node.disk import DiskReport, Held


def disk(as_json: AsJson = False, config: Config = None) -> None:
    """Say what the data folder holds, how much is free, and what retention frees when.

    Example: mammocalc disk --config mammocalc.toml
    """
    from node.disk import disk_report
    from node.retention import answered_states

    settings = settings_of(config)
    data_dir, kept_for = settings.node.data_dir, settings.retention.images
    with open_ledger(config) as session:
        try:
            report = disk_report(
                session,
                data_dir,
                states=answered_states(commitment=any(each.commitment for each in settings.destinations)),
                age=None if kept_for == "never" else kept_for,
                now=datetime.now(UTC),
            )
        except FileNotFoundError:
            refuse(f"There is no data folder {data_dir}; run this where the node keeps it.")
    if as_json:
        typer.echo(json.dumps(_facts(report, data_dir), indent=2))
    else:
        _print(report, data_dir, kept_for)


def _facts(report: "DiskReport", data_dir: Path) -> dict[str, Any]:
    from node.disk import MINIMUM_FREE_BYTES

    frees = report.frees
    return {
        "data_dir": str(data_dir),
        "total_bytes": report.total_bytes,
        "free_bytes": report.free_bytes,
        "refused_below_bytes": MINIMUM_FREE_BYTES,
        "images": {state.value: _held(held) for state, held in report.images.items()},
        "results": _held(report.results),
        "quarantine": _held(report.quarantine),
        "incoming": _held(report.incoming),
        "journal": _held(report.journal),
        "retention": None
        if frees is None
        else {
            "next_at": report.frees_next_at.isoformat() if report.frees_next_at else None,
            "frees_within_days": {str(horizon.days): _held(held) for horizon, held in frees.items()},
        },
    }


def _held(held: "Held") -> dict[str, int]:
    return {"files": held.files, "bytes": held.bytes}


def _print(report: "DiskReport", data_dir: Path, kept_for: timedelta | str) -> None:
    """Print the report for a person."""
    from node.console.wording import age, plural, size
    from node.disk import MINIMUM_FREE_BYTES

    typer.echo(
        f"{data_dir}: {size(report.free_bytes)} of {size(report.total_bytes)} free; below "
        f"{size(MINIMUM_FREE_BYTES)} no instance is accepted (A700H)."
    )
    table = Table("holds", box=None, pad_edge=False)
    for heading in ("files", "size"):
        table.add_column(heading, justify="right")
    kinds = [
        (f"images of studies that are {state}", report.images[state])
        for state in StudyState
        if state in report.images
    ]
    kinds += [
        ("results", report.results),
        ("quarantine", report.quarantine),
        ("half received", report.incoming),
        ("journal of small images", report.journal),
    ]
    for kind, held in kinds:
        table.add_row(kind, str(held.files), size(held.bytes))
    Console().print(table)
    if report.frees is None or isinstance(kept_for, str):
        typer.echo('Retention deletes no image: [retention] images = "never".')
        return
    typer.echo(f"Retention deletes images {age(kept_for)} after their answer is where it belongs:")
    for horizon, held in report.frees.items():
        when = f"within {age(horizon)}" if horizon else "now"
        typer.echo(f"  {when}: {plural(held.files, 'image')}, {size(held.bytes)}")
    if report.frees_next_at:
        typer.echo(f"  the next at {report.frees_next_at:%Y-%m-%d %H:%M} UTC")
