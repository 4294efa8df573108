"""The whole node as a user runs it: one command, in a folder of its own, driven and killed from outside."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Collection
from contextlib import closing
from pathlib import Path

from lab.demo.free_ports import free_port
from mammography.ledger.engine import Ledger
from mammography.ledger.studies import history_of, study
from mammography.ledger.tables import HistoryRow, StudyRow
from mammography.study import StudyState

ROLES = ("receive", "dispatch", "deliver", "console", "work")


class RunningNode:
    """`mammocalc up` with settings of our own."""

    def __init__(self, folder: Path, *, pacs_port: int | None = None, **changes: str) -> None:
        self.folder = folder
        self.port, self.console_port = free_port(), free_port()
        self.ledger_url = changes.get("ledger_url", f"sqlite:///{folder}/var/ledger.db")
        self.data_dir = Path(changes.get("data_dir", folder / "var"))
        self.ae_title = changes.get("ae_title", "MAMMOCALC")
        self.environment: dict[str, str] = {}
        self.config = folder / "mammocalc.toml"
        objects = changes.get("objects", '["cad-sr", "gsps"]')
        destination = (
            f'[[destinations]]\nname = "pacs"\nae_title = "ORTHANC"\nhost = "127.0.0.1"\nport = {pacs_port}\n'
            "commitment = true\n"
            f"objects = {objects}\n"
            if pacs_port
            else ""
        )
        self.config.write_text(
            f'[node]\nae_title = "{self.ae_title}"\nport = {self.port}\nhost = "127.0.0.1"\ndata_dir = "{self.data_dir}"\n'
            f'[ledger]\nurl = "{self.ledger_url}"\n'
            f'[queue]\nurl = "{changes.get("queue_url", "embedded")}"\n'
            f"[console]\nport = {self.console_port}\n"
            f'[completion]\nquiet_period = "{changes.get("quiet_period", "PT2S")}"\n'
            f'[reader]\nlease = "{changes.get("lease", "PT60S")}"\n'
            f"most_claims = {changes.get('most_claims', '3')}\n"
            f"{destination}{changes.get('more', '')}"
        )
        self.log = folder / "node.log"
        self.process: subprocess.Popen[bytes] | None = None

    def launch(self) -> None:
        """Start it, and do not wait."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "mammography", "up", "--config", str(self.config)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self.folder,
                env=os.environ | self.environment,
                start_new_session=True,
            )

    def start(self) -> "RunningNode":
        """Start it and return when it accepts connections."""
        self.launch()
        end = time.monotonic() + 60
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
            except OSError:
                assert self.process.poll() is None, self.log.read_text()
                assert time.monotonic() < end, self.log.read_text()
                time.sleep(0.1)
            else:
                return self

    def stop(self) -> float:
        """Stop it as Ctrl-C does, and return the seconds that it took."""
        began = time.monotonic()
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            self.process.wait(30)
        return time.monotonic() - began

    def kill(self) -> None:
        """Kill the supervisor outright; the kernel kills its roles with it."""
        pids = self.pids()
        self.process.kill()
        self.process.wait(10)
        end = time.monotonic() + 10
        while any(Path(f"/proc/{pid}").exists() for pid in pids.values()):
            assert time.monotonic() < end, "a role outlived the supervisor"
            time.sleep(0.05)

    def pids(self) -> dict[str, int]:
        """Return the process of each role: a child of the supervisor with the role's name as an argument."""
        found = {}
        for entry in Path("/proc").iterdir():
            try:
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                words = (entry / "cmdline").read_bytes().decode().split("\0")
            except (OSError, ValueError, IndexError):
                continue
            if parent == self.process.pid:
                name = next((role for role in ROLES if role in words), "broker")
                found[name] = int(entry.name)
        return found

    def kill_role(self, role: str) -> None:
        """Kill one role outright; the supervisor starts it again."""
        os.kill(self.pids()[role], signal.SIGKILL)

    def study(self, uid: str) -> StudyRow | None:
        """Return the study as the ledger has it now."""
        with closing(Ledger(self.ledger_url)) as ledger, ledger.read() as session:
            return study(session, uid)

    def history(self, uid: str) -> list[HistoryRow]:
        """Return every change of the study."""
        with closing(Ledger(self.ledger_url)) as ledger, ledger.read() as session:
            return history_of(session, uid)

    def wait_for(self, uid: str, states: Collection[StudyState], *, seconds: float = 120) -> StudyRow:
        """Return the study as soon as it is in one of these states."""
        end = time.monotonic() + seconds
        while True:
            row = self.study(uid)
            if row and row.state in states:
                return row
            where = f"{row.state}: {row.reason}" if row else "not there"
            assert time.monotonic() < end, (
                f"after {seconds} s the study is {where}\n{self.log.read_text()[-6000:]}"
            )
            time.sleep(0.1)

    def command(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run a mammocalc command with this node's settings."""
        return subprocess.run(
            [sys.executable, "-m", "mammography", *words, "--config", str(self.config)],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
