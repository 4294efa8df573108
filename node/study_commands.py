"""mammocalc study: where studies are, why, and what a person can do about it."""

import getpass
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from pydicom.uid import UID
from rich.console import Console
from rich.table import Table
from sqlalchemy.orm import Session

from mammography.ledger import deliveries, findings, studies
from mammography.ledger.tables import InstanceRow, StudyRow
from mammography.mammogram import MAMMOGRAPHY_CLASSES
from mammography.study import StudyState
from node.command_options import AsJson, Config, open_ledger, refuse, settings_of
from node.study_export import export_key, read_studies, write_export, write_keys

StudyUid = Annotated[
    str, typer.Argument(help="Study Instance UID, or its last digits where they are unique.")
]
SEARCHED = 10_000
"""How many of the newest studies the last digits are looked for in."""


def study_commands() -> typer.Typer:
    """Return the group mammocalc study."""
    group = typer.Typer(no_args_is_help=True, help="Where studies are, why, and what to do about it.")
    for name, command in (("list", list_studies), ("show", show), ("history", history), ("retry", retry)):
        group.command(name)(command)
    group.command("export")(export)
    return group


def list_studies(
    state: Annotated[
        list[StudyState] | None, typer.Option(help="Only studies in this state; may be repeated.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="How many, newest first.")] = 50,
    as_json: AsJson = False,
    config: Config = None,
) -> None:
    """List the newest studies with state, age and reason; refused instances below.

    Example: mammocalc study list --state failed --state unreadable
    """
    with open_ledger(config) as session:
        rows = studies.studies(session, limit=limit, states=tuple(state or ()))
        refused = studies.refusals(session, limit=10)
        if as_json:
            _print_json([_study_facts(row) for row in rows])
            return
        table = Table("state", "for", "accession", "reason", "study", box=None, pad_edge=False)
        for row in rows:
            table.add_row(
                row.state, _age(row.state_since), row.accession_number, row.reason, row.study_instance_uid
            )
        Console().print(table if rows else "No study has arrived yet.")
        for line in refused:
            typer.echo(f"refused {line.at:%Y-%m-%d %H:%M:%S}Z from {line.calling_ae_title}: {line.reason}")


def show(study_instance_uid: StudyUid, as_json: AsJson = False, config: Config = None) -> None:
    """Show one study: its state, its images and what was said of each, its objects and where they are.

    Example: mammocalc study show 1234
    """
    with open_ledger(config) as session:
        row = _find(session, study_instance_uid)
        facts = _study_facts(row) | {
            "instances": [_instance_facts(i) for i in studies.instances_of(session, row.study_instance_uid)],
            "images": _readings(session, row),
            "deliveries": [
                {
                    "object": d.sop_instance_uid,
                    "destination": d.destination,
                    "state": d.state,
                    "attempts": d.attempts,
                    "reason": d.reason,
                    "warning": d.warning,
                }
                for d in deliveries.deliveries_of(session, row.study_instance_uid)
            ],
        }
    if as_json:
        _print_json(facts)
        return
    typer.echo(f"Study {facts['study_instance_uid']}, accession {facts['accession_number'] or '(none)'}")
    typer.echo(
        f"{facts['state']} for {_age(row.state_since)}, revision {facts['revision']}: {facts['reason']}"
    )
    for title in ("instances", "images", "deliveries"):
        typer.echo(f"\n{title}:" if facts[title] else f"\n{title}: none")
        for entry in facts[title]:
            typer.echo("  " + "  ".join(f"{value}" for value in entry.values() if value not in ("", None)))


def history(study_instance_uid: StudyUid, as_json: AsJson = False, config: Config = None) -> None:
    """Print every change of one study with its time and reason.

    Example: mammocalc study history 1234
    """
    with open_ledger(config) as session:
        row = _find(session, study_instance_uid)
        lines = [
            {"at": line.at.isoformat(), "event": line.event, "state": line.to_state, "reason": line.reason}
            | {"revision": line.revision}
            for line in studies.history_of(session, row.study_instance_uid)
        ]
    if as_json:
        _print_json(lines)
        return
    for line in lines:
        typer.echo(f"{str(line['at'])[:23]}Z  {line['state']:<10}  {line['reason']}")


def retry(study_instance_uid: StudyUid, config: Config = None) -> None:
    """Take up a failed or unreadable study again.

    Example: mammocalc study retry 1234
    """
    with open_ledger(config, to_change=True) as session:
        row = _find(session, study_instance_uid)
        if row.state not in (StudyState.FAILED, StudyState.UNREADABLE):
            refuse(
                f"Study {row.study_instance_uid} is {row.state}; only a failed or unreadable one is retried."
            )
        state = studies.retry(session, row.study_instance_uid, now=datetime.now(UTC), by=getpass.getuser())
        typer.echo(f"Study {row.study_instance_uid} is {state} again; the running node takes it up.")


def export(
    folder: Annotated[Path, typer.Argument(help="Where model.csv and truth.csv go.")],
    *,
    site: Annotated[str, typer.Option(help="Name of this hospital in the tables.")] = "",
    keys: Annotated[
        Path | None,
        typer.Option(help="Also write which study each case is; this file stays in the hospital."),
    ] = None,
    config: Config = None,
) -> None:
    """Write what was said of every study as the tables of a reader study, under pseudonyms, without patient data.

    truth.csv is to be filled in from pathology and follow-up; mammocalc reader-study reads both.

    Example: mammocalc study export export --site north --keys keys.csv
    """
    with open_ledger(config) as session:
        cases = list(read_studies(session, export_key(settings_of(config).node.data_dir)))
    try:
        write_export(folder, cases, site=site)
    except FileExistsError:
        refuse(f"{folder / 'truth.csv'} exists; name another folder, so that no truth is lost.")
    if keys:
        write_keys(keys, cases)
    typer.echo(f"{len(cases)} studies that were read are in {folder}; fill in truth.csv.")


def _find(session: Session, ending: str) -> StudyRow:
    """Return the study that a whole UID or its last digits name."""
    row = studies.study(session, ending)
    if row:
        return row
    found = [r for r in studies.studies(session, limit=SEARCHED) if r.study_instance_uid.endswith(ending)]
    if len(found) != 1:
        refuse(f"{len(found) or 'No'} studies end with {ending}; mammocalc study list shows them all.")
    return found[0]


def _study_facts(row: StudyRow) -> dict[str, Any]:
    return {
        "study_instance_uid": row.study_instance_uid,
        "state": row.state.value,
        "state_since": row.state_since.isoformat(),
        "reason": row.reason,
        "revision": row.revision,
        "accession_number": row.accession_number,
        "first_instance_at": row.first_instance_at.isoformat(),
    }


def _instance_facts(row: InstanceRow) -> dict[str, Any]:
    return {
        "modality": row.modality,
        "view": f"{row.laterality} {row.view_position}".strip(),
        "kind": UID(row.sop_class_uid).name,
        "note": "" if row.sop_class_uid in MAMMOGRAPHY_CLASSES else "stored, not read: no mammogram",
        "sop_instance_uid": row.sop_instance_uid,
        "path": row.path,
        "deleted": f"file deleted on {row.deleted_at:%Y-%m-%d}" if row.deleted_at else "",
    }


def _readings(session: Session, row: StudyRow) -> list[dict[str, Any]]:
    """Return what was said of each image, one entry an image."""
    assessment = findings.assessment_of(session, row.study_instance_uid, row.revision)
    return [
        {
            "view": str(image.view or "view not stated"),
            "status": image.status.value,
            "findings": ", ".join(
                f"{f.assessment} ({len(f.specks)} calcifications, detection {f.detection:.2f})"
                for f in image.findings
            )
            or ("no calcifications marked" if image.reason is None else ""),
            "reason": image.reason,
            "sop_instance_uid": image.sop_instance_uid,
        }
        for image in (assessment.images if assessment else ())
    ]


def _age(since: datetime) -> str:
    """Return an age in the largest unit that fits: "3 min"."""
    seconds = (datetime.now(UTC) - since).total_seconds()
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds // size:.0f} {unit}"
    return f"{max(seconds, 0):.0f} s"


def _print_json(value: Any) -> None:
    typer.echo(json.dumps(value, indent=2))
