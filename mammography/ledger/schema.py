"""The ledger's schema: brought up to date before anybody uses it, safely when two processes do so at once."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Engine, inspect, text

from mammography.ledger.engine import make_engine
from mammography.ledger.tables import StudyRow
from mammography.ledger.url import ledger_url

if TYPE_CHECKING:
    from alembic.config import Config

_LOCK_NUMBER = 0x4D414D4D4F43414C
"""The advisory lock of PostgreSQL under which migrations run: "MAMMOCAL" in ASCII."""


class MissingMigrations(Exception):
    """The migrations are not installed beside the house."""


def upgrade(url: str, revision: str = "head") -> None:
    """Bring the ledger's tables to `revision`; return at once where they are there already.

    Two processes may call it at the same time: the second waits for the first (a lock file beside the file
    of SQLite, an advisory lock of PostgreSQL).

    Raises:
        MissingMigrations: if the `migrations` package is not installed.
    """
    from alembic import command

    with _migrating(url) as config:
        command.upgrade(config, revision)


def downgrade(url: str, revision: str) -> None:
    """Take the ledger's tables back to `revision`; "base" leaves none."""
    from alembic import command

    with _migrating(url) as config:
        command.downgrade(config, revision)


def has_tables(url: str) -> bool:
    """Return whether the ledger at `url` was ever upgraded; a worker asks before it starts."""
    engine = make_engine(ledger_url(url))
    try:
        return inspect(engine).has_table(StudyRow.__tablename__)
    finally:
        engine.dispose()


def script_folder() -> Path:
    """Return the folder of the installed `migrations` package, found without importing it.

    Raises:
        MissingMigrations: if there is none.
    """
    found = find_spec("migrations")
    if found is None or not found.submodule_search_locations:
        raise MissingMigrations("The package `migrations` is not installed beside `mammography`.")
    return Path(found.submodule_search_locations[0])


@contextmanager
def _migrating(url: str) -> "Iterator[Config]":
    """Hold the migration lock, and yield Alembic's configuration with a connection in a transaction."""
    from alembic.config import Config

    engine = make_engine(ledger_url(url))
    config = Config()
    config.set_main_option("script_location", str(script_folder()).replace("%", "%%"))
    try:
        with _lock(engine), engine.begin() as connection:
            config.attributes["connection"] = connection
            yield config
    finally:
        engine.dispose()


@contextmanager
def _lock(engine: Engine) -> Iterator[None]:
    """Hold the lock under which one process alone migrates."""
    if engine.dialect.name == "sqlite":
        with Path(f"{engine.url.database}.lock").open("w", encoding="ascii") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield
        return
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("SELECT pg_advisory_lock(:number)"), {"number": _LOCK_NUMBER})
        try:
            yield
        finally:
            connection.execute(text("SELECT pg_advisory_unlock(:number)"), {"number": _LOCK_NUMBER})
