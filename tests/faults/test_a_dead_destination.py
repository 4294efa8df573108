"""One of three destinations is dead all the while: the other two get everything as soon as without it.

A measurement, and part of `make faults`: MAMMOCALC_DEAD_ROUNDS is how often it is done with each kind of death and without any.
"""

import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest

from lab.demo.free_ports import free_port
from mammography.ledger.engine import Ledger
from mammography.ledger.schema import upgrade
from mammography.ledger.tables import DeliveryState
from mammography.study import StudyState
from node.reporting import Reporting
from tests.delivery.peers import destination
from tests.delivery.small_studies import VIEWS, Node
from tests.servers import wait_for

ROUNDS = int(os.environ.get("MAMMOCALC_DEAD_ROUNDS", "0"))
STUDIES = 40
SECONDS_BETWEEN = 0.4
MOST_LONGER = 1.10
ALIVE = ("first", "second")


@contextmanager
def storescp(folder: Path) -> Iterator[tuple[int, "subprocess.Popen[bytes]"]]:
    """dcmtk's storescp, and its port."""
    folder.mkdir(parents=True)
    port = free_port()
    command = ["storescp", "--output-directory", str(folder), str(port)]
    with subprocess.Popen(command, env=os.environ | {"TCP_NODELAY": "1"}) as server:
        wait_for(lambda: _listens(port), what="storescp's start")
        yield port, server
        server.send_signal(signal.SIGCONT)
        server.kill()


def _listens(port: int) -> bool:
    """Return whether the kernel has a listener on this port, without connecting to it."""
    tables = Path("/proc/net/tcp").read_text() + Path("/proc/net/tcp6").read_text()
    return f":{port:04X} " in tables


@contextmanager
def death(kind: str, folder: Path) -> Iterator[int | None]:
    """The port of a destination that is dead in some way; None: there is none."""
    with ExitStack() as stack:
        if kind == "none":
            yield None
        elif kind == "refuses":
            yield free_port()
        elif kind == "silent":
            listener = stack.enter_context(closing(socket.create_server(("127.0.0.1", 0))))
            yield listener.getsockname()[1]
        else:
            port, server = stack.enter_context(storescp(folder / "dead"))
            server.send_signal(signal.SIGSTOP)
            yield port


def seconds_to_each(folder: Path, kind: str) -> list[float]:
    """Return how long the objects of forty studies took from the outbox to each living destination."""
    folder.mkdir()
    upgrade(url := f"sqlite:///{folder}/ledger.db")
    with ExitStack() as stack:
        ledger = stack.enter_context(closing(Ledger(url)))
        ports = {name: stack.enter_context(storescp(folder / name))[0] for name in ALIVE}
        dead = stack.enter_context(death(kind, folder))
        if dead is not None:
            ports["dead"] = dead
        node = Node(ledger=ledger, data_dir=folder / "data")
        node.destinations.extend(destination(name, port) for name, port in ports.items())
        config = folder / "mammocalc.toml"
        config.write_text(
            f'[node]\ndata_dir = "{folder}/data"\n[ledger]\nurl = "{url}"\n'
            + "".join(
                f'[[destinations]]\nname = "{name}"\nae_title = "ANYBODY"\nhost = "127.0.0.1"\nport = {port}\n'
                for name, port in ports.items()
            )
        )
        command = [sys.executable, "-m", "mammography", "deliver", "--config", str(config)]
        role = stack.enter_context(subprocess.Popen(command, stdout=subprocess.DEVNULL))
        stack.callback(role.terminate)
        reporting = node.reporting
        first = answered(node, reporting)
        wait_for(lambda: len(sent(node, [first])) == 2 * 2, seconds=60, what="the role's start")
        studies, began = [], time.monotonic()
        for number in range(STUDIES):
            time.sleep(max(0.0, began + number * SECONDS_BETWEEN - time.monotonic()))
            studies.append(answered(node, reporting))
        wait_for(lambda: len(sent(node, studies)) == 2 * 2 * STUDIES, seconds=60, what="the last delivery")
        if dead is not None:
            assert {node.state(study) for study in studies} == {StudyState.REPORTED}
        return sent(node, studies)


def answered(node: Node, reporting: Reporting) -> str:
    """Return a study whose answer lies in the outbox."""
    study = node.read_study(views=VIEWS[:1])
    reporting.sweep(now=datetime.now(UTC))
    return study


def sent(node: Node, studies: list[str]) -> list[float]:
    """Return the seconds that each delivery to a living destination took which was acknowledged."""
    rows = [row for study in studies for row in node.deliveries(study) if row.destination in ALIVE]
    return [(row.sent_at - row.due_since).total_seconds() for row in rows if row.state == DeliveryState.SENT]


@pytest.mark.slow
@pytest.mark.timeout(300 + 200 * ROUNDS)
@pytest.mark.skipif(ROUNDS == 0, reason="a measurement: `make faults` makes it")
@pytest.mark.skipif(not shutil.which("storescp"), reason="dcmtk is not installed")
def test_a_dead_destination_delays_no_other(tmp_path: Path) -> None:
    seconds = defaultdict(list)
    for number in range(ROUNDS):
        for kind in ("none", "refuses", "silent", "stopped"):
            seconds[kind] += seconds_to_each(tmp_path / f"{number}-{kind}", kind)
    p95 = {kind: statistics.quantiles(of_kind, n=100)[94] for kind, of_kind in seconds.items()}
    ratios = {kind: one / p95["none"] for kind, one in p95.items()}
    sys.stderr.write(
        f"p95 from the outbox to a living destination, {ROUNDS} rounds in turns: "
        + ", ".join(f"dead: {kind} {p95[kind]:.3f} s (x{ratios[kind]:.3f})" for kind in p95)
        + "\n"
    )
    assert max(ratios.values()) <= MOST_LONGER
