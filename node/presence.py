"""How processes that share a data folder see which of them live: each holds a lock that ends with it."""

import fcntl
import os
import uuid
from pathlib import Path


class Presence:
    """This process at work in a data folder, under a name that no other process ever has.

    The lock is flock(2) on a file in `folder`: the system drops it when the process ends, however it ends. A folder
    that machines share has to carry such locks over, as NFS does since version 4.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self.name = uuid.uuid4().hex
        self._lock = self._taken()

    def _taken(self) -> int:
        """Return the lock; where somebody removed the file before it was locked, that of a new one."""
        while True:
            lock = os.open(self._folder / self.name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            fcntl.flock(lock, fcntl.LOCK_EX)
            if os.fstat(lock).st_nlink:
                return lock
            os.close(lock)

    def others(self) -> set[str]:
        """Return the names of the other processes that live; what is left of those that do not is removed."""
        return alive_in(self._folder) - {self.name}


def alive_in(folder: Path) -> set[str]:
    """Return the names of the processes at work that live, this one too; what is left of those that do not is removed."""
    return {path.name for path in folder.glob("*") if not _removed(path)}


def _removed(path: Path) -> bool:
    """Remove a file that nobody holds; return whether that was so."""
    try:
        lock = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return True
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        path.unlink(missing_ok=True)
    except BlockingIOError:
        return False
    finally:
        os.close(lock)
    return True
