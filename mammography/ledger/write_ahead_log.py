"""SQLite's write-ahead log, brought to the disk by whoever committed once the next may write already.

SQLite itself would do that within the transaction (synchronous = FULL), and everybody else who writes would wait for the disk, too.
What follows from a commit that is not on the disk yet, and is committed itself, stands behind it in the same log: none is there
without those before it.
"""

import os
import sqlite3
import threading
from contextlib import closing
from pathlib import Path

from sqlalchemy import Engine, event
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import ConnectionPoolEntry

_PATIENCE_SECONDS = 5.0
"""For others who read the log, when it is to begin anew."""


class NotDurable(SQLAlchemyError):
    """What was committed may not survive a power cut: the disk did not take it; str() is the sentence why."""


class WriteAheadLog:
    """The log of an engine whose commits are not synced by SQLite from now on, but by `sync`."""

    def __init__(self, engine: Engine) -> None:
        self._database = Path(str(engine.url.database)).resolve()
        self._lock = threading.Lock()
        """Held while the log is synced: of two who sync at once only one is told of a failure."""
        self._descriptor = -1
        """Kept: of an error on the disk, the system tells each descriptor that was open then."""
        self._broken = False
        event.listen(engine, "connect", _sync_only_checkpoints)

    def sync(self) -> None:
        """Bring to the disk whatever was committed, by whomever: what this thread saw of others is safe then, too.

        Raises:
            NotDurable: if the disk does not take it.
        """
        with self._lock:
            try:
                if self._broken:
                    self._begin_anew()
                if self._open():
                    os.fdatasync(self._descriptor)
            except (OSError, sqlite3.Error) as failure:
                self._broken = True
                raise NotDurable(f"The ledger's log cannot be brought to the disk: {failure}.") from failure

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._close()

    def _open(self) -> bool:
        """Open the log that there is; False where the last who closed the database brought everything into it, and synced that."""
        path = self._database.with_name(f"{self._database.name}-wal")
        try:
            there = path.stat()
        except FileNotFoundError:
            return False
        if self._descriptor < 0 or not os.path.samestat(there, os.fstat(self._descriptor)):
            self._close()
            self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        return True

    def _close(self) -> None:
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def _begin_anew(self) -> None:
        """Bring the log into the database: of pages that it could not sync once, the kernel may say later that it did."""
        with closing(sqlite3.connect(self._database, timeout=_PATIENCE_SECONDS)) as connection:
            (busy, *_) = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        if busy:
            raise sqlite3.OperationalError("it failed before, and others read it now")
        self._broken = False


def _sync_only_checkpoints(connection: sqlite3.Connection, _entry: ConnectionPoolEntry) -> None:
    """Have the log synced before it is brought into the database, and the database before the log begins anew."""
    connection.execute("PRAGMA synchronous = NORMAL").close()
