"""A small hospital: two nodes on one ledger and one data folder, a PACS, an archive, a broker, and what keeps them up."""

import os
import shutil
import signal
import struct
import subprocess
import tempfile
import threading
import time
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Self

from lab.demo.free_ports import free_port
from lab.demo.orthanc import Orthanc, OrthancFailed
from mammography.ledger.engine import Ledger
from mammography.ledger.schema import upgrade
from tests.faults.moody_archive import MoodyArchive
from tests.faults.wire import Wire
from tests.journeys.running_node import RunningNode
from tests.servers import PostgresServer, RedisServer

CLOCK_SOURCE = Path(__file__).with_name("clock.c")
DISK_GIB = 7
STEADY_SECONDS = 0.2
_PAGE_BYTES = 4096


class Site:
    """Everything runs once it is entered, and is stopped when it is left.

    `small_disk`: whether the data folder is a file system of its own, which root may mount and a fault run fill.
    `clock`: whether the nodes live by a clock that a fault run may set.
    """

    def __init__(self, folder: Path, *, nodes: int = 2) -> None:
        self.folder = folder
        self._count = nodes
        self._closing = threading.Event()
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with self._stack:
            self.data_dir, self.small_disk = self._disk()
            self.postgres = PostgresServer(self._home())
            self.redis = RedisServer(self._home())
            for server in (self.postgres, self.redis):
                server.start()
            self._stack.callback(lambda: (self.redis.kill(), self.postgres.crash()))
            self.orthanc = Orthanc(folder=self.folder / "orthanc", dicom_port=free_port())
            self.wire = Wire(self.orthanc.dicom_port)
            self._stack.callback(self.wire.close)
            titles: dict[str, int] = {}
            self.archive = MoodyArchive(titles)
            self._stack.callback(self.archive.close)
            self._clock_environment = self._clock()
            self.clock_can_be_set = bool(self._clock_environment)
            self.nodes = [self._node(number) for number in range(self._count)]
            titles |= {node.ae_title: node.port for node in self.nodes}
            self.orthanc.modalities = titles
            upgrade(f"{self.postgres.url}/postgres")
            self.ledger = Ledger(f"{self.postgres.url}/postgres")
            self._stack.callback(self.ledger.close)
            self.orthanc.start()
            self._stack.callback(self.orthanc.stop)
            for node in self.nodes:
                node.start()
                self._stack.callback(node.stop)
            keeper = threading.Thread(target=self._keep, daemon=True)
            keeper.start()
            self._stack.callback(lambda: (self._closing.set(), keeper.join()))
            self._stack = self._stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _home(self) -> Path:
        """Return an empty folder of a server's own, that is removed at the end."""
        return Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="mammocalc-faults-")))

    def _disk(self) -> tuple[Path, bool]:
        """Return the data folder, and whether it is a file system of its own."""
        data_dir = self._home()
        mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_GIB}g", "none", str(data_dir)]
        if subprocess.run(mount, capture_output=True, check=False).returncode != 0:
            return data_dir, False
        self._stack.callback(subprocess.run, ["umount", "--lazy", str(data_dir)], check=True)
        return data_dir, True

    def set_clock(self, seconds: int) -> None:
        """Let the nodes' clock be so far ahead of the true one; less than nothing sets it back."""
        with (self.folder / "clock").open("r+b") as file:
            file.write(struct.pack("=q", seconds))

    def _clock(self) -> dict[str, str]:
        """Return the environment of a process whose clock can be set; empty where there is no C compiler."""
        if not shutil.which("cc"):
            return {}
        library, clock = self.folder / "clock.so", self.folder / "clock"
        clock.write_bytes(struct.pack("=q", 0))
        command = ["cc", "-shared", "-fPIC", "-O2", "-Wall", "-Werror", "-o", library, CLOCK_SOURCE, "-ldl"]
        subprocess.run(command, check=True)
        return {"LD_PRELOAD": str(library), "MAMMOCALC_CLOCK": str(clock)}

    def _node(self, number: int) -> RunningNode:
        """Return a node of this site; it does not run yet."""
        home = self.folder / f"node{number}"
        home.mkdir()
        node = RunningNode(
            home,
            pacs_port=self.wire.port,
            ae_title=f"MAMMOCALC{number}",
            ledger_url=f"{self.postgres.url}/postgres",
            queue_url=self.redis.url,
            data_dir=str(self.data_dir),
            quiet_period="PT4S",
            lease="PT15S",
            most_claims="50",  # more than a run kills one worker over one study: each kill here is ours, not the study's
            more=(
                f'[[destinations]]\nname = "archive"\nae_title = "ARCHIVE"\nhost = "127.0.0.1"\n'
                f"port = {self.archive.port}\ncommitment = true\n"
            ),
        )
        node.environment = {"OMP_NUM_THREADS": "1", **self._clock_environment}
        return node

    def _keep(self) -> None:
        """Start a node again that ended, as the system's own service manager does."""
        while not self._closing.wait(STEADY_SECONDS):
            for node in self.nodes:
                if node.process.poll() is not None:
                    time.sleep(1.0)
                    node.launch()

    def kill_orthanc(self) -> None:
        """Kill the PACS outright."""
        os.kill(int((self.orthanc.folder / "pid").read_text()), signal.SIGKILL)
        self.orthanc.stop()

    def start_orthanc(self) -> None:
        """Start the PACS again; its port may still be taken for a moment."""
        for _ in range(20):
            try:
                self.orthanc.start()
                return
            except OrthancFailed:
                time.sleep(1.0)
        self.orthanc.start()

    def fill_disk(self, *, leave_bytes: int) -> Path:
        """Write a file that leaves so little room, and return it."""
        filler = self.data_dir / "filler"
        with closing(filler.open("wb", buffering=0)) as file:
            step, size = 64 << 20, 0
            while step >= _PAGE_BYTES:
                room = shutil.disk_usage(self.data_dir).free - leave_bytes
                if room < step:
                    step //= 2
                    continue
                try:
                    os.posix_fallocate(file.fileno(), size, step)
                except OSError:  # somebody was faster
                    step //= 2
                else:
                    size += step
        return filler
