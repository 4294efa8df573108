"""Receivers as processes: ours and its peers, each tuned (TCP_NODELAY, 128 KB PDUs, threads enough)."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TypeVar

from lab.demo.free_ports import free_port
from lab.demo.orthanc import TEMPLATE, orthanc_program
from mammography.ledger.schema import upgrade

_START_SECONDS = 60
OURS = "ours"
"""What every table calls the receiver that the others are compared with."""
_LAST_WORDS = 300
_MOST_AGAIN = 2
"""So often a peer that refused an instance has a turn once more; Orthanc was seen to, in one turn of some 200 with 64 KB objects."""
_TICKS = os.sysconf("SC_CLK_TCK")

Taken = TypeVar("Taken")


class ReceiverFailed(Exception):
    """A receiver did not start or refused an instance; str() says which, and what its log says or where that is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """How a receiver is started."""

    command: Sequence[str]
    ae_title: str
    files: Path
    """Where its files come; they are removed after each turn."""
    http_port: int = 0
    """Of a receiver that removes what it holds when its REST interface is told to."""


class Receiver:
    """A receiver that runs, in a folder of its own."""

    def __init__(self, name: str, launch: Callable[[Path, int], Launch], folder: Path) -> None:
        self.name, self.port = name, free_port()
        self.turns_again = 0
        """How often a load was sent once more, since it refused an instance."""
        folder.mkdir(parents=True)
        self._launched = launch(folder, self.port)
        self._log = folder / "log"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                list(self._launched.command),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, "TCP_NODELAY": "1"},
            )
        self._await()

    @property
    def ae_title(self) -> str:
        """What it is called."""
        return self._launched.ae_title

    def cpu_seconds(self) -> float:
        """Return the processor seconds that it took so far, with its processes that live and those that ended."""
        taken = 0
        for process in _family(self._process.pid):
            with suppress(OSError):  # it ended meanwhile, and its parent answers for it
                fields = (process / "stat").read_text().rsplit(") ", 1)[1].split()
                taken += sum(map(int, fields[11:15]))
        return taken / _TICKS

    def peak_memory_mb(self) -> float:
        """Return the most memory that was resident in each of its processes that live, added up, in 10^6 bytes."""
        kilobytes = 0
        for process in _family(self._process.pid):
            with suppress(OSError):
                lines = (process / "status").read_text().splitlines()
                kilobytes += sum(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
        return kilobytes * 1024 / 1e6

    def failed(self, said: str) -> ReceiverFailed:
        """Return what is wrong where it refused an instance; `said` is what the sender said."""
        log = self._log.read_text(errors="replace").strip()[-_LAST_WORDS:]
        return ReceiverFailed(
            f"{self.name} did not take everything: {said.strip()[-_LAST_WORDS:]}; its log ends with: {log or 'nothing'}"
        )

    def all_taken(self, turn: Callable[[int], Taken], numbers: Iterator[int]) -> Taken:
        """Return what the first turn gives in which everything was taken: a peer has another, ours may not need it.

        Each turn takes one of the numbers, for instances that it has not seen.

        Raises:
            ReceiverFailed: if ours refuses an instance, or a peer does in three turns on end.
        """
        left = 0 if self.name == OURS else _MOST_AGAIN
        while True:
            try:
                return turn(next(numbers))
            except ReceiverFailed:
                if not left:
                    raise
                left -= 1
                self.turns_again += 1

    def forget(self) -> None:
        """Remove what came: a memory disk does not hold the instances of all turns."""
        if self._launched.http_port:
            url = f"http://127.0.0.1:{self._launched.http_port}/patients"
            with urllib.request.urlopen(url, timeout=60) as answer:
                held = json.load(answer)
            for one in held:
                removal = urllib.request.Request(f"{url}/{one}", method="DELETE")  # noqa: S310
                urllib.request.urlopen(removal, timeout=60).close()  # noqa: S310
        for path in self._launched.files.glob("*"):
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()

    def stop(self) -> None:
        """End it."""
        self._process.kill()
        self._process.wait()

    def _await(self) -> None:
        deadline = time.monotonic() + _START_SECONDS
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
            except OSError as failure:
                if self._process.poll() is not None or time.monotonic() > deadline:
                    raise ReceiverFailed(f"{self.name} did not start: see {self._log}") from failure
                time.sleep(0.1)
            else:
                return


def _family(pid: int) -> list[Path]:
    """Return the folders below /proc of a process, and of those that it started and that live."""
    process, children = Path("/proc", str(pid)), ""
    with suppress(OSError):
        children = (process / "task" / str(pid) / "children").read_text()
    return [process, *(each for child in children.split() for each in _family(int(child)))]


def _python(module: str, *arguments: object) -> list[str]:
    return [sys.executable, "-m", module, *map(str, arguments)]


def _files(folder: Path) -> Path:
    files = folder / "files"
    files.mkdir()
    return files


def _bare(folder: Path, port: int) -> Launch:
    files = _files(folder)
    return Launch(command=_python("lab.bench.bare_receiver", port, files), ae_title="BARE", files=files)


def _stock(folder: Path, port: int) -> Launch:
    files = _files(folder)
    command = _python("lab.bench.peer_receivers", "stock", port, files)
    return Launch(command=command, ae_title="STOCK", files=files)


def _pump(folder: Path, port: int) -> Launch:
    files = _files(folder)
    return Launch(
        command=_python("lab.bench.peer_receivers", "pump", port, files), ae_title="PUMP", files=files
    )


def _storescp(folder: Path, port: int) -> Launch:
    files = _files(folder)
    command = ["/usr/bin/storescp", "--fork", "+B", "-pdu", "131072", "-aet", "STORESCP", "-od", str(files)]
    return Launch(command=[*command, str(port)], ae_title="STORESCP", files=files)


def _orthanc(folder: Path, port: int, *, sync: bool) -> Launch:
    storage, http_port = folder / "storage", free_port()
    settings = json.loads(TEMPLATE.read_text()) | {
        "StorageDirectory": str(storage),
        "IndexDirectory": str(storage),
        "DicomAet": "ORTHANC",
        "DicomPort": port,
        "HttpPort": http_port,
        "DicomAlwaysAllowStore": True,
        "DicomAlwaysAllowEcho": True,
        "DicomCheckModalityHost": False,
        "DicomThreadsCount": 40,
        "MaximumPduLength": 131072,
        "SyncStorageArea": sync,
        "StableAge": 3600,
    }
    path = folder / "orthanc.json"
    path.write_text(json.dumps(settings))
    return Launch(
        command=[orthanc_program() or "Orthanc", str(path)],
        ae_title="ORTHANC",
        files=folder / "none",
        http_port=http_port,
    )


def _node(folder: Path, port: int) -> Launch:
    url = f"sqlite:///{folder}/ledger.db"
    upgrade(url)
    path = folder / "node.toml"
    path.write_text(
        f'[node]\nae_title = "MAMMOCALC"\nhost = "127.0.0.1"\nport = {port}\ndata_dir = "{folder}/data"\n'
        f'[ledger]\nurl = "{url}"\n[queue]\nurl = "redis://127.0.0.1:1/0"\n'
    )
    command = _python("mammography", "receive", "--config", path)
    return Launch(command=command, ae_title="MAMMOCALC", files=folder / "data" / "studies")


PATH_ALONE = MappingProxyType(
    {
        OURS: _bare,
        "storescp": _storescp,
        "Orthanc": lambda folder, port: _orthanc(folder, port, sync=False),
        "stock pynetdicom": _stock,
    }
)
"""Table 1: files on a memory disk, nobody syncs, no ledger of ours."""
PROMISE_KEPT = MappingProxyType(
    {OURS: _node, "plain pump": _pump, "Orthanc": lambda folder, port: _orthanc(folder, port, sync=True)}
)
"""Table 2: synced, named, read and recorded before the answer, on a real disk."""
