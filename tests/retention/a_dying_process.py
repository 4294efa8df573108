"""Retention that is killed where order matters: python -m tests.retention.a_dying_process DATA_DIR LEDGER_URL NOW FILES.

It deletes as the node does, and ends as `kill -9` ends a process once the ledger has said that images are deleted and
FILES of the files are gone.
"""

import os
import signal
import sys
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from mammography.ledger.engine import Ledger
from node.retention import Retention, answered_states
from tests.retention.conftest import AGE


def die_at_removal(number: int) -> Callable[[str, tuple[object, ...]], None]:
    """Return an audit hook (PEP 578) that kills this process as it is about to remove its next file below studies/."""
    left = [number]

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        if event == "os.remove" and "/studies/" in str(arguments[0]):
            if not left[0]:
                os.kill(os.getpid(), signal.SIGKILL)
            left[0] -= 1

    return hook


if __name__ == "__main__":
    data_dir, url, now, files = sys.argv[1:]
    sys.addaudithook(die_at_removal(int(files)))
    Retention(
        ledger=Ledger(url), data_dir=Path(data_dir), age=AGE, states=answered_states(commitment=True)
    ).sweep(now=datetime.fromisoformat(now))
