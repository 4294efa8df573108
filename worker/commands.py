"""The worker's command: mammocalc work."""

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from worker.settings import WorkerSettings

Config = Annotated[
    Path | None,
    typer.Option(
        "--config", help="Settings file (TOML); else the one that MAMMOCALC_CONFIG names; else defaults."
    ),
]


EXTRA, NEEDS = "worker", ("torch",)
"""What brings these commands, and what they cannot do without."""


def register(app: typer.Typer) -> None:
    """Add the worker's command to mammocalc.

    Raises:
        ModuleNotFoundError: if torch is not installed; nothing can be read without it.
    """
    if find_spec("torch") is None:
        raise ModuleNotFoundError("No module named 'torch'", name="torch")
    app.command("work", help=work.__doc__)(work)


def work(config: Config = None) -> None:
    """Read studies as they become complete, one at a time, until Ctrl-C or SIGTERM.

    `mammocalc up` starts one such worker. Start more here or on other machines, where the data folder, the
    ledger and the queue are shared. The study in hand is finished before the worker ends.

    Example: mammocalc work --config mammocalc.toml
    """
    from mammography.reader.plan import UnusableWeights
    from mammography.telemetry.logging import configure_logging
    from worker.app import open_workplace, run_worker

    settings = _settings(config)
    _check(settings)
    configure_logging("worker")
    try:
        workplace = open_workplace(settings)
    except UnusableWeights as unusable:
        raise _refused(str(unusable)) from unusable
    try:
        status = run_worker(settings.queue.url, workplace)
    finally:
        workplace.ledger.close()
    raise typer.Exit(status)


def _settings(config: Path | None) -> "WorkerSettings":
    """Return the settings, or end the command with every mistake in them."""
    from mammography.settings_file import SettingsRefused, load_settings
    from worker.settings import WorkerSettings

    try:
        return load_settings(WorkerSettings, config)
    except SettingsRefused as refused:
        raise _refused(str(refused)) from refused


def _check(settings: "WorkerSettings") -> None:
    """End the command where there is no queue, no data folder or no ledger to work from."""
    from sqlalchemy.exc import OperationalError

    from mammography.ledger.schema import has_tables

    if settings.queue.url == "embedded":
        raise _refused(
            'The embedded queue lives inside "mammocalc up", which starts a worker of its own. '
            "To start one by hand, set [queue].url to a Redis that both share."
        )
    if not settings.node.data_dir.is_dir():
        raise _refused(
            f"There is no data folder {settings.node.data_dir.resolve()}: share the node's with this worker, "
            "and let [node].data_dir name it."
        )
    try:
        ready = has_tables(settings.ledger.url)
    except OperationalError as away:
        raise _refused(f"The ledger cannot be reached: {away.orig}") from away
    if not ready:
        raise _refused('The ledger has no tables yet: start "mammocalc up" first, which makes them.')


def _refused(sentence: str) -> typer.Exit:
    """Say what is wrong, and return what ends the command."""
    typer.echo(sentence, err=True)
    return typer.Exit(2)
