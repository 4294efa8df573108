"""A node with its ledger, an Orthanc, and dcmtk's storescp."""

import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from lab.demo.free_ports import free_port
from lab.demo.orthanc import Orthanc, orthanc_program
from mammography.ledger.engine import Ledger
from mammography.ledger.schema import upgrade
from tests.delivery.peers import Pacs
from tests.delivery.small_studies import Node
from tests.servers import wait_for


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    url = f"sqlite:///{tmp_path}/ledger.db"
    upgrade(url)
    ledger = Ledger(url)
    yield Node(ledger=ledger, data_dir=tmp_path / "data")
    ledger.close()


@pytest.fixture(scope="session")
def pacs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pacs]:
    """One Orthanc for all tests of a session; every test has studies of its own."""
    if orthanc_program() is None:
        pytest.skip("Orthanc is not installed: `apt-get install orthanc` brings it.")
    node_port = free_port()
    with Orthanc(folder=tmp_path_factory.mktemp("orthanc"), modalities={"MAMMOCALC": node_port}) as orthanc:
        yield Pacs(orthanc=orthanc, node_port=node_port)


@pytest.fixture
def storescp(tmp_path: Path) -> Iterator[Callable[..., tuple[int, Path]]]:
    """Start dcmtk's storescp with options; returns its port and the folder where it puts what it gets."""
    with ExitStack() as running:

        def start(*options: str, port: int | None = None) -> tuple[int, Path]:
            port = port or free_port()
            folder = tmp_path / f"storescp-{port}"
            folder.mkdir()
            server = subprocess.Popen(
                ["storescp", *options, "--output-directory", str(folder), str(port)],
                env={"TCP_NODELAY": "1", "PATH": "/usr/bin"},
                stderr=subprocess.DEVNULL,
            )
            running.callback(server.wait)
            running.callback(server.kill)
            wait_for(lambda: _listens(port), what="storescp's start")
            return port, folder

        yield start


def _listens(port: int) -> bool:
    """Return whether the kernel has a listener on this port, without connecting to it."""
    needle = f":{port:04X} "
    return needle in Path("/proc/net/tcp").read_text() or needle in Path("/proc/net/tcp6").read_text()
