"""Composes the parts of the node and runs one role: receive, dispatch, deliver or console; or all of them.

Each role is a process. They share the ledger and the data folder, and nothing else.
"""

import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from mammography.ledger.doorbell import Doorbell
from mammography.ledger.engine import Ledger
from mammography.ledger.schema import upgrade
from mammography.ledger.studies import advance, give_back, in_state
from mammography.study import StudyEvent, StudyState
from mammography.telemetry.logging import configure_logging
from mammography.telemetry.metrics import configure_metrics
from node.settings import NodeSettings
from node.supervision import Role, Supervisor

if TYPE_CHECKING:
    from node.association import TlsDoor
    from node.callers import Caller
    from node.commitment import Commitment
    from node.commitment_provider import CommitmentProvider
    from node.completion import Completion
    from node.delivery import Destination
    from node.operations import Operations

log = structlog.get_logger()

ROLES = ("receive", "dispatch", "deliver", "console")
LAST_WORDS = timedelta(seconds=2.5)
"""How long open associations may go on when the node stops; an abort makes the sender keep its images."""
PAUSE_SECONDS = 0.25
"""How long a sweeping role sleeps when there was nothing to do."""


class CannotStart(Exception):
    """The node cannot start; the message says why and what to do next."""


def now() -> datetime:
    """Return the moment, aware and in UTC; the doors alone look at the clock."""
    return datetime.now(UTC)


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
    from node.association import Acceptor
    from node.reception import Reception
    from node.strangers import Strangers

    reception = Reception(ledger=ledger, data_dir=settings.node.data_dir, survives=settings.node.survives)
    reception.sweep_incoming()
    completion = _completion(settings, ledger)
    strangers = Strangers(ledger)
    acceptor = Acceptor(
        ae_title=settings.node.ae_title,
        host=settings.node.host,
        port=settings.node.port,
        reception=reception,
        on_study_touched=lambda uid: completion.association_ended(uid, now=now()),
        operations=_operations(settings, ledger, completion),
        storage_classes=(
            None if settings.node.storage_classes is None else frozenset(settings.node.storage_classes)
        ),
        callers=_callers(settings),
        on_stranger=strangers.turned_away,
        tls=_tls_door(settings),
    )
    strangers.start()
    acceptor.start()
    log.info("listening", ae_title=settings.node.ae_title, host=settings.node.host, port=settings.node.port)
    stop.wait()
    acceptor.stop(LAST_WORDS)
    strangers.stop()


def _dispatch(settings: NodeSettings, ledger: Ledger, stop: threading.Event) -> None:
    """Judge what has arrived, ring for what waits, and compose what was read."""
    from node.reporting import Reporting

    completion = _completion(settings, ledger)
    reporting = Reporting(
        ledger=ledger, data_dir=settings.node.data_dir, destinations=_destinations(settings)
    )
    _sweep([completion.sweep, reporting.sweep], stop)


def _deliver(settings: NodeSettings, ledger: Ledger, stop: threading.Event) -> None:
    """Send what is due, and ask for commitment."""
    from node.delivery import Delivery

    delivery = Delivery(
        ledger=ledger,
        data_dir=settings.node.data_dir,
        calling_ae_title=settings.node.ae_title,
        destinations=_destinations(settings),
    )
    commitment, provider = _commitment(settings, ledger), _commitment_provider(settings, ledger)
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


def _completion(settings: NodeSettings, ledger: Ledger) -> "Completion":
    from node.completion import Completion

    return Completion(
        ledger=ledger,
        quiet_period=settings.completion.quiet_period,
        longest_wait=settings.completion.longest_wait,
        most_claims=settings.reader.most_claims,
        ring=Doorbell(settings.queue.url).ring,
    )


def _commitment(settings: NodeSettings, ledger: Ledger) -> "Commitment":
    from node.commitment import Commitment

    return Commitment(
        ledger=ledger, calling_ae_title=settings.node.ae_title, destinations=_destinations(settings)
    )


def _commitment_provider(
    settings: NodeSettings, ledger: Ledger, on_listed: Callable[[str], None] = lambda _: None
) -> "CommitmentProvider":
    from node.commitment_provider import CommitmentProvider, ReportAddress

    reports = {each.ae_title: ReportAddress(host=each.host, port=each.port) for each in settings.destinations}
    for caller in settings.callers:
        if caller.commitment_port:
            reports[caller.ae_title] = ReportAddress(port=caller.commitment_port)
    return CommitmentProvider(
        ledger=ledger,
        data_dir=settings.node.data_dir,
        ae_title=settings.node.ae_title,
        reports=reports,
        on_listed=on_listed,
    )


def _operations(settings: NodeSettings, ledger: Ledger, completion: "Completion") -> "Operations":
    """Return who does what we are asked besides storing."""
    from node.commitment import PUSH_MODEL, takes_reports
    from node.negotiation import MODALITY_PERFORMED_PROCEDURE_STEP
    from node.procedure_steps import ProcedureSteps
    from node.wire.command_set import CommandField

    def whole(study_instance_uid: str) -> None:
        completion.listed(study_instance_uid, now=now())

    commitment = _commitment(settings, ledger)
    provider = _commitment_provider(settings, ledger, whole)
    steps = ProcedureSteps(ledger=ledger, on_finished=whole)
    return {
        (CommandField.N_EVENT_REPORT, str(PUSH_MODEL)): takes_reports(
            lambda report: commitment.record(report, now=now())
        ),
        (CommandField.N_ACTION, str(PUSH_MODEL)): lambda asked: provider.request(asked, now=now()),
        (CommandField.N_CREATE, MODALITY_PERFORMED_PROCEDURE_STEP): lambda asked: steps.create(
            asked, now=now()
        ),
        (CommandField.N_SET, MODALITY_PERFORMED_PROCEDURE_STEP): lambda asked: steps.change(asked, now=now()),
    }


def _callers(settings: NodeSettings) -> "list[Caller]":
    """Return who may call: those that are listed, else this machine; and destinations, with their commitment."""
    from node.callers import THIS_MACHINE, Caller, who_reports_back

    listed = [Caller(ae_title=each.ae_title, network=each.network) for each in settings.callers]
    reporting = [(each.ae_title, each.host) for each in settings.destinations if each.commitment]
    return [*(listed or THIS_MACHINE), *who_reports_back(reporting)]


def _tls_door(settings: NodeSettings) -> "TlsDoor | None":
    """Return the port for TLS, or refuse to start with files that TLS cannot be spoken with."""
    from node.association import TlsDoor
    from node.tls import Credentials, CredentialsRefused, Tls

    if settings.tls is None:
        return None
    credentials = Credentials(
        certificate=settings.tls.certificate, key=settings.tls.key, callers=settings.tls.callers
    )
    try:
        Tls(credentials)
    except CredentialsRefused as refused:
        raise CannotStart(str(refused)) from refused
    return TlsDoor(port=settings.tls.port, credentials=credentials)


def _destinations(settings: NodeSettings) -> "list[Destination]":
    from mammography.results.options import ComposeOptions
    from node.delivery import Destination

    return [
        Destination(
            name=section.name,
            ae_title=section.ae_title,
            host=section.host,
            port=section.port,
            options=ComposeOptions(
                kinds=frozenset(section.objects),
                scheme=section.scheme,
                manufacturer=section.manufacturer,
                benign=section.benign,
                tid1500=section.tid1500,
                tid1500_per_image=section.tid1500_per_image,
            ),
            fallback=section.fallback,
            commitment=section.commitment,
            timeout=section.timeout,
        )
        for section in settings.destinations
    ]


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
        CannotStart: if a port is taken or the data folder cannot be written.
    """
    from node.broker import embedded_broker

    configure_logging("node")
    _check_ports(settings)
    _tls_door(settings)
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
            _release(ledger, settings, pid, stopping)

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
    """Refuse to start where another program listens already."""
    wanted = [
        (settings.node.host, settings.node.port, "node"),
        (settings.console.host, settings.console.port, "console"),
    ]
    if settings.tls:
        wanted.append((settings.node.host, settings.tls.port, "tls"))
    for host, port, section in wanted:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except OSError as taken:
                raise CannotStart(
                    f"Port {port} on {host} cannot be used ({taken.strerror}): is a node running already? "
                    f"Stop it, or set another [{section}].port."
                ) from taken


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
    goes = ", ".join(f"{d.name} ({d.ae_title} at {d.host}:{d.port})" for d in settings.destinations)
    lines = [
        f"Mammocalc listens as {settings.node.ae_title} on {settings.node.host} port {settings.node.port}.",
        f"Console: http://{settings.console.host}:{settings.console.port}",
        f"Answers go to: {goes or 'no destination yet; they stay in ' + str(settings.node.data_dir)}",
        "Research software with weights from synthetic images. Not a medical device.",
        "Next, in a second terminal: make demo        To stop: Ctrl-C",
    ]
    print("\n".join(lines), flush=True)  # noqa: T201  for the person who typed the command
