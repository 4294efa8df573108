"""A connection to PostgreSQL that waits for nothing without end: no lock, no server that is gone, none that hangs."""

from collections.abc import Generator
from datetime import timedelta
from typing import Any, TypeVar

import structlog
from psycopg import Connection, OperationalError
from psycopg.pq import TransactionStatus
from sqlalchemy import Engine, create_engine, event
from sqlalchemy.engine import URL, Dialect
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.pool import ConnectionPoolEntry
from typing_extensions import override

CONNECT_TIMEOUT = timedelta(seconds=5)
POOL_TIMEOUT = timedelta(seconds=60)
"""How long who needs a connection waits for one of those that others use."""
LOCK_TIMEOUT = timedelta(seconds=10)
"""How long a statement waits for what another transaction has locked: one that waits longer fails, and is tried again."""
IDLE_TIMEOUT = timedelta(minutes=5)
"""After so long without a word PostgreSQL ends a transaction: the machine that began it may have lost its power."""
STATEMENT_TIMEOUT = timedelta(seconds=12)
"""How long the server works on a statement; it gives it up, with its locks."""
ANSWER_TIMEOUT = timedelta(seconds=15)
"""How long we wait for a server that does not even do that. A sender is told so after this and the time for two connections: many wait 30 s."""

_MISSING_A_SERVER = {
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
}
"""So that a server which is gone without a word is missed: TCP asks after 10 s, and three times more (libpq; seconds, and milliseconds)."""

_log = structlog.get_logger()

Answer = TypeVar("Answer")


def postgres_engine(url: URL) -> Engine:
    """Return an engine whose transactions are READ COMMITTED, each synced as it commits."""
    return create_engine(
        url,
        isolation_level="READ COMMITTED",
        pool_pre_ping=True,
        pool_size=8,
        max_overflow=56,
        pool_timeout=POOL_TIMEOUT.total_seconds(),
        connect_args={"connect_timeout": int(CONNECT_TIMEOUT.total_seconds()), **_MISSING_A_SERVER},
    )


def keep_from_waiting(engine: Engine) -> None:
    """Have connections that the engine makes from now on wait for nothing without end."""
    event.listen(engine, "do_connect", _connect)
    event.listen(engine, "connect", _limit_statements)


class _Impatient(Connection[Any]):
    """Gives up a server that does not answer, though its machine is there: its disk hangs, or it was stopped."""

    @override
    def wait(
        self, gen: Generator[Any, Any, Answer], interval: float = 0.1, timeout: float | None = None
    ) -> Answer:
        """Take a statement to its end.

        Raises:
            OperationalError: if that takes longer than ANSWER_TIMEOUT, or than `timeout`; the connection is closed then.
        """
        patience = ANSWER_TIMEOUT.total_seconds() if timeout is None else timeout
        try:
            return super().wait(gen, interval, patience)
        except OperationalError as failure:
            if self.info.transaction_status is not TransactionStatus.ACTIVE:
                raise
            self.close()
            # what is raised is lost where statements are sent together
            _log.error("ledger-hangs", seconds=patience)
            raise OperationalError(f"PostgreSQL has not answered within {patience:g} s.") from failure


def _connect(
    _dialect: Dialect, _entry: ConnectionPoolEntry, _arguments: tuple[Any, ...], settings: dict[str, Any]
) -> Connection[Any]:
    return _Impatient.connect(**settings)


def _limit_statements(connection: DBAPIConnection, _entry: ConnectionPoolEntry) -> None:
    cursor = connection.cursor()
    for name, limit in (
        ("lock_timeout", LOCK_TIMEOUT),
        ("statement_timeout", STATEMENT_TIMEOUT),
        ("idle_in_transaction_session_timeout", IDLE_TIMEOUT),
    ):
        cursor.execute(f"SET {name} = '{int(limit.total_seconds() * 1000)}ms'")
    cursor.close()
    connection.commit()
