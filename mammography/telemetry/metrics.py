"""Where the processes of a node keep their counters, so that one page can add them up.

The library maps a file for each process into memory (its multi-process mode), and reads the folder's name from the
environment when it is imported: whoever counts says so first.
"""

import os
import socket
from contextlib import suppress
from pathlib import Path

FOLDER_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"


def metrics_folder(data_dir: Path) -> Path:
    """Return where the processes of this machine keep their counters."""
    return data_dir / "metrics" / socket.gethostname()


def configure_metrics(data_dir: Path) -> None:
    """Let this process keep its counters with the others, and forget those of processes that are gone.

    Call it before anything imports prometheus_client.
    """
    folder = metrics_folder(data_dir)
    folder.mkdir(parents=True, exist_ok=True)
    os.environ[FOLDER_VARIABLE] = str(folder)
    for file in folder.glob("*_*.db"):
        pid = file.stem.rpartition("_")[2]
        if pid.isdigit() and not Path("/proc", pid).exists():
            with suppress(FileNotFoundError):  # another process tidies up, too
                file.unlink()
