"""What tests of every story share: a ledger on each database, a Redis."""

import itertools
import logging
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
import structlog
from sqlalchemy import create_engine
from sqlalchemy.engine import make_url

from mammography.ledger.engine import Ledger
from mammography.ledger.schema import upgrade
from mammography.ledger.tables import Table
from tests.servers import POSTGRESQL, PostgresServer, RedisServer, postgres_cluster

_numbers = itertools.count(1)


@pytest.fixture(autouse=True)
def log_as_before() -> Iterator[None]:
    """Undo what a command that ran within this process set up for its own log."""
    handlers = logging.root.handlers[:]
    yield
    logging.root.handlers[:] = handlers
    structlog.reset_defaults()


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """A PostgreSQL cluster of our own."""
    if not POSTGRESQL:
        pytest.skip("PostgreSQL is not installed: `apt-get install postgresql` brings it.")
    with (
        tempfile.TemporaryDirectory(prefix="mammocalc-postgresql-") as folder,
        postgres_cluster(Path(folder)) as server,
    ):
        yield server


@pytest.fixture(scope="session")
def postgres_url(postgres_server: PostgresServer) -> str:
    """That cluster, as a URL without a database name."""
    return postgres_server.url


@pytest.fixture(scope="session")
def postgres_ledger_url(postgres_url: str) -> str:
    """The one database of that cluster whose ledger the tests use in turn; a database for each costs seconds."""
    url = _create_database(postgres_url, "ledger")
    upgrade(url)
    return url


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_ledger_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A fresh database without tables, on each kind of database in turn."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/ledger/ledger.db"
    return _create_database(request.getfixturevalue("postgres_url"), f"ledger_{next(_numbers)}")


@pytest.fixture(params=["sqlite", "postgresql"])
def ledger_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A ledger's database with its tables, all empty, on each kind of database in turn."""
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path}/ledger/ledger.db"
        upgrade(url)
        return url
    url = str(request.getfixturevalue("postgres_ledger_url"))
    engine = create_engine(url)
    with engine.begin() as connection:
        for table in reversed(Table.metadata.sorted_tables):
            connection.execute(table.delete())
    engine.dispose()
    return url


def _create_database(server_url: str, name: str) -> str:
    """Create a database of the cluster, and return its URL."""
    server = make_url(server_url)
    with psycopg.connect(
        host=server.host, port=server.port, user=server.username, dbname="postgres", autocommit=True
    ) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    return server.set(database=name).render_as_string(hide_password=False)


@pytest.fixture
def ledger(ledger_url: str) -> Iterator[Ledger]:
    """An empty ledger, on each kind of database in turn."""
    opened = Ledger(ledger_url)
    yield opened
    opened.close()


@pytest.fixture
def redis_server() -> Iterator[RedisServer]:
    """A Redis of our own that runs, and that a test may kill and start again."""
    with tempfile.TemporaryDirectory(prefix="mammocalc-redis-") as folder:
        server = RedisServer(Path(folder))
        server.start()
        yield server
        server.kill()


@pytest.fixture
def redis_url(redis_server: RedisServer) -> str:
    """The URL of a Redis of our own, as Celery takes it."""
    return redis_server.url
