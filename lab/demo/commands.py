"""mammocalc demo: a synthetic study through a running node, and the answer shown."""

import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from pydantic import BaseModel, ConfigDict
from rich.console import Console

from lab.demo.pacs import DemoPacs, PacsKind, PortTaken, start_pacs
from mammography.ledger.engine import Ledger
from mammography.ledger.studies import history_of, study
from mammography.ledger.tables import StudyRow
from mammography.settings_file import LedgerSection, SettingsRefused, load_settings
from mammography.study import StudyState

ANSWERED = (StudyState.COMMITTED, StudyState.UNREADABLE, StudyState.FAILED)
COMMITMENT_SECONDS = 15.0
"""How long a delivered study is watched for the PACS's commitment before the answer is shown anyway."""


EXTRA, NEEDS = "lab", ("pynetdicom",)
"""What brings these commands, and what they cannot do without."""


class NodeAddress(BaseModel):
    """What the demonstration needs to know of [node]."""

    ae_title: str = "MAMMOCALC"
    port: int = 11112
    data_dir: Path = Path("var")


class PacsAddress(BaseModel):
    """What the demonstration needs to know of one of [[destinations]]."""

    name: str
    ae_title: str
    host: str
    port: int


class DemoSettings(BaseModel):
    """The part of the node's settings file that the demonstration reads."""

    model_config = ConfigDict(extra="ignore")

    node: NodeAddress = NodeAddress()
    ledger: LedgerSection = LedgerSection()
    destinations: tuple[PacsAddress, ...] = ()


def register(app: typer.Typer) -> None:
    """Add mammocalc demo."""
    app.command("demo")(demo)


def demo(
    config: Annotated[Path | None, typer.Option("--config", help="The running node's settings file.")] = None,
    seed: Annotated[
        int | None, typer.Option(help="Which synthetic study; a new one each time otherwise.")
    ] = None,
    pacs_kind: Annotated[
        PacsKind,
        typer.Option("--pacs", help="What plays the PACS: Orthanc where it is installed, or a small AE."),
    ] = PacsKind.AUTO,
    patience: Annotated[float, typer.Option(help="Give up after so many seconds.")] = 600.0,
) -> None:
    """Send a synthetic four-view study to the running node, wait, and show the answer.

    Start the node first, in another terminal: make run

    Example: mammocalc demo --config deploy/demo.toml --seed 7
    """
    try:
        settings = load_settings(DemoSettings, config)
    except SettingsRefused as refused:
        _stop(str(refused))
    _require_node(settings.node)
    folder = settings.node.data_dir / "demo"
    chosen = seed if seed is not None else _next_seed(folder)
    study_folder = _phantom(folder, chosen)
    with _pacs(settings, folder, pacs_kind) as pacs:
        uid = _send(study_folder, settings.node)
        row = _wait(settings.ledger.url, uid, patience)
        where = pacs.keep(uid, folder / f"answer-{chosen}") if pacs else None
    _show(settings, row, where)


def _require_node(node: NodeAddress) -> None:
    """Stop with a sentence where no node listens."""
    try:
        socket.create_connection(("127.0.0.1", node.port), timeout=5).close()
    except OSError:
        _stop(f"No node listens on port {node.port}. Start it first, in another terminal: make run")


def _next_seed(folder: Path) -> int:
    """Return the first seed from 1 that no earlier demonstration in this folder used."""
    used = {path.name for path in folder.glob("study-*")}
    return next(seed for seed in range(1, len(used) + 2) if f"study-{seed}" not in used)


def _phantom(folder: Path, seed: int) -> Path:
    """Draw the study, once for each seed, and return its folder."""
    from lab.phantom.commands import write_study

    study_folder = folder / f"study-{seed}"
    if not (study_folder / "truth.json").exists():
        typer.echo(f"Drawing synthetic study {seed} (four views with known calcifications) ...")
        write_study(study_folder, seed=seed, easy=True)
    return study_folder


@contextmanager
def _pacs(settings: DemoSettings, folder: Path, kind: PacsKind) -> Iterator[DemoPacs | None]:
    """Run the PACS that the node's first destination names, unless one runs there already."""
    if not settings.destinations:
        typer.echo("The node has no destination; its answer stays in its data folder.")
        yield None
        return
    first = settings.destinations[0]
    node = settings.node
    try:
        pacs = start_pacs(
            folder / "pacs",
            kind,
            ae_title=first.ae_title,
            port=first.port,
            node=node.ae_title,
            node_port=node.port,
        )
    except PortTaken as taken:
        _stop(str(taken))
    typer.echo(f"{pacs.what_it_is} plays the PACS: {first.ae_title} on port {first.port}.")
    try:
        yield pacs
    finally:
        pacs.stop()


def _send(study_folder: Path, node: NodeAddress) -> str:
    """Send the study as a modality would, and return its Study Instance UID."""
    from lab.demo.modality import NotSent, send

    typer.echo(f"Sending {study_folder} to {node.ae_title} on port {node.port} by C-STORE ...")
    try:
        return send(sorted(study_folder.glob("*.dcm")), ae_title=node.ae_title, port=node.port)
    except NotSent as refused:
        _stop(str(refused))


def _wait(url: str, uid: str, patience: float) -> StudyRow:
    """Show where the study is until it is answered."""
    ledger = Ledger(url)
    began = time.monotonic()
    delivered_at: float | None = None
    with Console(stderr=True).status("sent") as line:
        while True:
            row = _row(ledger, uid)
            passed = time.monotonic() - began
            line.update(f"{row.state if row else 'sent'} after {passed:.0f} s: {row.reason if row else ''}")
            if row and row.state is StudyState.DELIVERED:
                delivered_at = delivered_at or passed
            waited_enough = delivered_at is not None and passed - delivered_at > COMMITMENT_SECONDS
            if row and (row.state in ANSWERED or waited_enough):
                break
            if passed > patience:
                _stop(f"No answer within {patience:.0f} s. Look at it with: mammocalc study show {uid}")
            time.sleep(0.2)
    ledger.close()
    return row


def _row(ledger: Ledger, uid: str) -> StudyRow | None:
    with ledger.begin() as session:
        row = study(session, uid)
        if row:
            session.expunge(row)
        return row


def _show(settings: DemoSettings, row: StudyRow, where: Path | None) -> None:
    """Print the history, the report and where everything lies."""
    uid = row.study_instance_uid
    ledger = Ledger(settings.ledger.url)
    with ledger.begin() as session:
        for line in history_of(session, uid):
            typer.echo(f"  {line.at:%H:%M:%S.%f}"[:-3] + f"Z  {line.to_state:<10}  {line.reason}")
    ledger.close()
    results = settings.node.data_dir / "studies" / uid / "results" / f"r{row.revision}"
    report = results / "report.txt"
    if not report.exists():
        _stop(f"The study is {row.state}: {row.reason}")
    typer.echo(f"\n{report.read_text()}")
    typer.echo("Pictures with the marks:")
    for picture in sorted(results.glob("*.png")):
        typer.echo(f"  {picture}")
    typer.echo(f"DICOM objects as written by the node:\n  {results}")
    if where:
        typer.echo(f"DICOM objects as the PACS holds them:\n  {where}")
    typer.echo(f"The same in the console: http://127.0.0.1:8080/studies/{uid}")


def _stop(sentence: str) -> NoReturn:
    typer.echo(sentence, err=True)
    raise typer.Exit(1)
