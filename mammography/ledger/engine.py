"""The ledger's database: one file of SQLite, or PostgreSQL; many processes and threads use it at once."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import timedelta
from pathlib import Path
from sqlite3 import Connection as SqliteConnection
from typing import Protocol

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import URL
from sqlalchemy.orm import Session
from sqlalchemy.pool import ConnectionPoolEntry

from mammography.ledger.sqlite_writer import WRITES, SqliteWriter, take_write_lock
from mammography.ledger.transaction import Transaction
from mammography.ledger.url import ledger_url

BUSY_TIMEOUT = timedelta(seconds=60)
"""How long a transaction of SQLite waits for the one writer before it."""

_READING = "ledger_reading"


class Ledger:
    """The database that remembers where every study is.

    `url` is `sqlite:///...` (write-ahead log, writers queue) or `postgresql+psycopg://...` (READ COMMITTED); every commit
    is synced. Threads and processes may share one ledger; a process that forks makes its own afterwards.

    Raises:
        UnsupportedLedger: if the url names another database.
    """

    def __init__(self, url: str) -> None:
        self.url = ledger_url(url)
        self._engine = make_engine(self.url)
        if self._engine.dialect.name == "postgresql":
            from mammography.ledger.postgresql import keep_from_waiting

            keep_from_waiting(self._engine)
        self._reading = self._engine.execution_options(**{_READING: True})
        self._writer: _Writer = (
            SqliteWriter(self._engine, patience_seconds=BUSY_TIMEOUT.total_seconds())
            if self._engine.dialect.name == "sqlite"
            else _PooledWriter(self._engine)
        )

    @contextmanager
    def begin(self) -> Iterator[Session]:
        """Open one transaction, as `transaction` does, and return its session."""
        with self.transaction() as transaction:
            yield transaction.session

    @contextmanager
    def transaction(self, *, durable: bool = True) -> Iterator[Transaction]:
        """Open one transaction; it commits at the end, and rolls back where an exception passes through.

        What was committed is on the disk when this returns, and whatever it saw of others, too; these may read it a moment before.
        Where it need not be `durable`, a power cut may take it back until the next one that is, or `sync`.
        Rows that it returns stay readable afterwards. No network, no pixels and no sleep belong inside: on
        SQLite everybody else who writes waits. A transaction that touches several studies takes them in the
        order of their UIDs, so that two such transactions cannot wait for each other.

        Raises:
            NotDurable: if it was committed, and the disk did not take it.
        """
        with self._writer.begun() as connection:
            transaction = Transaction(connection)
            try:
                yield transaction
                transaction.commit()
            finally:
                transaction.close()
        if durable:
            self.sync()

    def sync(self) -> None:
        """Bring to the disk whatever was committed, by whomever.

        Raises:
            NotDurable: if the disk does not take it.
        """
        self._writer.sync()

    @contextmanager
    def read(self) -> Iterator[Session]:
        """Open one transaction that only reads: it waits for no writer, and no writer waits for it."""
        with Session(self._reading, expire_on_commit=False, autoflush=False) as session:
            yield session

    def close(self) -> None:
        """Close the connections."""
        self._writer.close()
        self._engine.dispose()


class _Writer(Protocol):
    """Lends connections that write."""

    def begun(self) -> AbstractContextManager[Connection]:
        """Lend one, in a transaction that the borrower ends."""

    def sync(self) -> None:
        """Return once what was committed is on the disk."""

    def close(self) -> None:
        """Close what is kept for writing."""


class _PooledWriter:
    """Lends a connection of PostgreSQL to each who asks; a commit there returns once it is on the disk."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    @contextmanager
    def begun(self) -> Iterator[Connection]:
        """Lend a connection of the pool."""
        with self._engine.connect() as connection:
            connection.begin()
            yield connection

    def sync(self) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing: the pool keeps them."""


def make_engine(url: URL) -> Engine:
    """Return the engine that the ledger and its migrations use; `url` is one that `ledger_url` lets through."""
    if url.drivername == "sqlite":
        return _sqlite_engine(url)
    from mammography.ledger.postgresql import postgres_engine

    return postgres_engine(url)


def _sqlite_engine(url: URL) -> Engine:
    """Return an engine whose transactions are ours to begin, and whose parent folder exists."""
    Path(str(url.database)).parent.mkdir(parents=True, exist_ok=True)
    engine = create_engine(
        url,
        pool_size=8,
        max_overflow=-1,
        connect_args={"timeout": BUSY_TIMEOUT.total_seconds(), "check_same_thread": False},
    )
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _prepare_sqlite(connection: SqliteConnection, _entry: ConnectionPoolEntry) -> None:
    """Make a new connection durable, and keep the driver from opening transactions of its own."""
    connection.isolation_level = None
    for pragma in (
        f"busy_timeout = {int(BUSY_TIMEOUT.total_seconds() * 1000)}",
        "journal_mode = WAL",
        "synchronous = FULL",
        "foreign_keys = ON",
    ):
        connection.execute(f"PRAGMA {pragma}").close()


def _begin_sqlite(connection: Connection) -> None:
    """Take the write lock at once: a reader that turns writer later would fail instead of waiting."""
    options = connection.get_execution_options()
    if WRITES in options:
        take_write_lock(connection, options[WRITES])
    else:
        connection.exec_driver_sql("BEGIN DEFERRED" if _READING in options else "BEGIN IMMEDIATE")
