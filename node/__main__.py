"""Composes the parts of the node and runs one role: receive, dispatch, deliver or console; or all of them.

Each role is a process. They share the ledger and the data folder, and nothing else.
"""

import errno
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from datetime import timedelta
from importlib.util import find_spec
from pathlib import Path

import structlog
from sqlalchemy.exc import DBAPIError

from mammography.ledger.engine import Ledger
from mammography.ledger.schema import upgrade
from mammography.ledger.studies import LostRace, advance, give_back, in_state
from mammography.study import StudyEvent, StudyState
from mammography.telemetry.logging import configure_logging
from mammography.telemetry.metrics import configure_metrics
from node.composition import (
    CannotStart,
    ages_of,
    destinations_of,
    make_commitment,
    make_commitment_provider,
    make_completion,
    make_retention,
    now,
    tls_door_of,
)
from node.listening import bound
from node.settings import ListeningPort, NodeSettings
from node.supervision import Role, Supervisor

log = structlog.get_logger()

ROLES = ("receive", "dispatch", "deliver", "console")
LAST_WORDS = timedelta(seconds=2.5)
"""How long open associations may go on when the node stops; an abort makes the sender keep its images."""
PAUSE_SECONDS = 0.25
"""How long a sweeping role sleeps when there was nothing to do."""


def run_role(role: str, settings: NodeSettings) -> None:
    """Run one role in this process until SIGTERM or SIGINT."""
    configure_logging(role)
    configure_metrics(settings.node.data_dir)
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    ledger = Ledger(settings.ledger.url)
    try:
        {"receive": _receive, "dispatch": _dispatch, "deliver": _deliver, "console": _console}[role](
            settings, ledger, stop
        )
    finally:
        ledger.close()


def _receive(settings: NodeSettings, ledger: Ledger, stop: threading.Event) -> None:
    """Take associations in until told to stop."""
    from node.receiving import receive

    receive(settings, ledger, stop, last_words=LAST_WORDS)


def _dispatch(settings: NodeSettings, ledger: Ledger, stop: threading.Event) -> None:
    """Judge what has arrived, ring for what waits, and compose what was read."""
    from node.clock import Clock
    from node.overdue import Overdue
    from node.repair import Repair
    from node.reporting import Reporting
    from node.unknown_destinations import UnknownDestinations

    completion = make_completion(settings, ledger)
    reporting = Reporting(
        ledger=ledger, data_dir=settings.node.data_dir, destinations=destinations_of(settings)
    )
    overdue = Overdue(ledger=ledger, ages=ages_of(settings))
    clock = Clock(ledger=ledger, lease=settings.reader.lease)
    retention = make_retention(settings, ledger)
    repair = Repair(ledger=ledger, data_dir=settings.node.data_dir)
    unknown = UnknownDestinations(ledger=ledger, names=[each.name for each in settings.destinations])
    steps = [clock.sweep, completion.sweep, reporting.sweep, overdue.sweep, unknown.sweep]
    _sweep([*steps, retention.sweep, repair.sweep], stop)
    completion.close()


def _deliver(settings: NodeSettings, ledger: Ledger, stop: threading.Event) -> None:
    """Send what is due, and ask for commitment."""
    from node.delivery import Delivery

    delivery = Delivery(
        ledger=ledger,
        data_dir=settings.node.data_dir,
        calling_ae_title=settings.node.ae_title,
        destinations=destinations_of(settings),
    )
    commitment, provider = make_commitment(settings, ledger), make_commitment_provider(settings, ledger)
    _sweep([delivery.sweep, commitment.sweep, provider.sweep], stop)
    for sender in (delivery, commitment, provider):
        sender.close()


def _console(settings: NodeSettings, ledger: Ledger, stop: threading.Event) -> None:
    """Serve the console until told to stop."""
    from node.console.app import make_console, serve

    app = make_console(
        ledger=ledger,
        data_dir=settings.node.data_dir,
        node_name=settings.node.ae_title,
        destinations=[destination.name for destination in settings.destinations],
        host_names=[settings.console.host],
    )
    serve(app, settings.console.host, settings.console.port, stop)


def _sweep(steps: Sequence[Callable[..., int]], stop: threading.Event) -> None:
    """Take every step again and again; pause when none had anything to do.

    An unforeseen failure ends this step, not the role: it is logged, and the step is taken again.
    """
    pause = PAUSE_SECONDS
    while not stop.is_set():
        done = 0
        for step in steps:
            try:
                done += step(now=now())
                pause = PAUSE_SECONDS
            except Exception:
                log.exception("step-failed", step=step.__qualname__, again_in_seconds=pause)
                pause = min(pause * 2, 30.0)
        if not done:
            stop.wait(pause)


def run_all(settings: NodeSettings, config: Path | None) -> None:
    """Run every role, and a worker and a broker of our own where the settings want them, until Ctrl-C.

    Raises:
        CannotStart: if it cannot listen where it should, or the data folder cannot be written.
    """
    from node.broker import embedded_broker

    configure_logging("node")
    _check_ports(settings)
    tls_door_of(settings)
    _make_folder(settings.node.data_dir)
    upgrade(settings.ledger.url)
    ledger = Ledger(settings.ledger.url)
    environment = {"MAMMOCALC_LEDGER_URL": settings.ledger.url, "MAMMOCALC_QUEUE_URL": settings.queue.url}
    supervisor = Supervisor(environment=environment)
    if settings.queue.url == "embedded":
        command, environment["MAMMOCALC_QUEUE_URL"] = embedded_broker(settings.node.data_dir)
        supervisor.start(Role(name="broker", command=command))
    options = ["--config", str(config)] if config else []
    for role in ROLES:
        supervisor.start(Role(name=role, command=[sys.executable, "-m", "mammography", role, *options]))
    if find_spec("torch"):
        work = [sys.executable, "-m", "mammography", "work", *options]

        def after_death(pid: int, stopping: bool) -> None:
            try:
                _release(ledger, settings, pid, stopping)
            except (DBAPIError, LostRace) as away:
                log.warning("lease-not-given-back", reason=str(away), then="it ends by time")

        supervisor.start(Role(name="worker", command=work, after_death=after_death))
    else:
        log.warning("no-worker", reason='torch is not installed; pip install "mammocalc[worker]" brings it')
    supervisor.run(ready=lambda: _listens(settings), when_ready=lambda: _say_hello(settings))
    ledger.close()


def _release(ledger: Ledger, settings: NodeSettings, pid: int, stopping: bool) -> None:
    """Give back at once what a worker of ours held when it ended; a worker elsewhere loses its lease by time.

    A worker that we stopped ourselves did not die of the study: that claim does not count.
    """
    owner = f"{socket.gethostname()}:{pid}:"
    with ledger.begin() as session:
        for row in in_state(session, StudyState.READING):
            if not (row.lease_owner or "").startswith(owner):
                continue
            if not stopping:
                reason = "Its worker ended in the middle of the reading."
                give_back(session, row, now=now(), reason=reason, most_claims=settings.reader.most_claims)
                continue
            advance(
                session,
                row.study_instance_uid,
                seen=StudyState.READING,
                event=StudyEvent.LEASE_EXPIRED,
                now=now(),
                reason="The node was stopped in the middle of the reading. It is queued again.",
                where={"lease_owner": row.lease_owner},
                claims=row.claims - 1,
            )


def _check_ports(settings: NodeSettings) -> None:
    """Refuse to start where the node cannot listen.

    Each port is listened on until all were had: two sockets that do not listen may share an address (SO_REUSEADDR).
    """
    with ExitStack() as held:
        for wanted in settings.listening_ports:
            try:
                held.enter_context(bound(wanted.host, wanted.port)).listen()
            except OSError as refused:
                raise CannotStart(_why_not(wanted, refused)) from refused


def _why_not(wanted: ListeningPort, refused: OSError) -> str:
    """Return why the node cannot listen there, and what to do."""
    if isinstance(refused, socket.gaierror):
        return (
            f"The host {wanted.host} cannot be resolved ({refused.strerror}): "
            f"let {wanted.host_setting} be an address of this machine."
        )
    if refused.errno == errno.EADDRNOTAVAIL:
        return f"{wanted.host} is not an address of this machine: set another {wanted.host_setting}."
    here = f"Port {wanted.port} on {wanted.host} cannot be used ({refused.strerror})"
    if refused.errno == errno.EADDRINUSE:
        return f"{here}: is a node running already? Stop it, or set another {wanted.port_setting}."
    return f"{here}: set another {wanted.port_setting} or {wanted.host_setting}."


def _make_folder(data_dir: Path) -> None:
    """Make the data folder."""
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
    except OSError as refused:
        raise CannotStart(
            f"The data folder {data_dir} cannot be made ({refused.strerror}); set another [node].data_dir."
        ) from refused
    if not os.access(data_dir, os.W_OK):
        raise CannotStart(f"The data folder {data_dir} cannot be written; set another [node].data_dir.")


def _listens(settings: NodeSettings) -> bool:
    """Return whether the node takes connections already."""
    host = "127.0.0.1" if settings.node.host in ("0.0.0.0", "::") else settings.node.host  # noqa: S104
    try:
        socket.create_connection((host, settings.node.port), timeout=1).close()
    except OSError:
        return False
    return True


def _say_hello(settings: NodeSettings) -> None:
    """Tell a person where the node listens and what to do next."""
    goes = ", ".join(
        f"{d.name} ({d.url or f'{d.ae_title} at {d.host}:{d.port}'})" for d in settings.destinations
    )
    lines = [
        f"Mammocalc listens as {settings.node.ae_title} on {settings.node.host} port {settings.node.port}.",
        f"Console: http://{settings.console.host}:{settings.console.port}",
        f"Answers go to: {goes or 'no destination yet; they stay in ' + str(settings.node.data_dir)}",
        "Research software with weights from synthetic images. Not a medical device.",
        "Next, in a second terminal: make demo        To stop: Ctrl-C",
    ]
    print("\n".join(lines), flush=True)  # noqa: T201  for the person who typed the command
