"""Where a ledger may live: the url of its database, judged before anybody opens it."""

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError


class UnsupportedLedger(Exception):
    """The URL names a database that the ledger cannot live in; str() is the sentence why."""


def ledger_url(text: str) -> URL:
    """Return the parts of a ledger's url.

    Raises:
        UnsupportedLedger: if it is neither SQLite in a file nor PostgreSQL through psycopg 3, or cannot be read.
    """
    try:
        url = make_url(text)
    except ArgumentError as unreadable:
        raise UnsupportedLedger(
            "The ledger lives in sqlite:///path or postgresql+psycopg://user@host/database."
        ) from unreadable
    except ValueError as no_number:
        raise UnsupportedLedger("The port of the ledger's url is no number.") from no_number
    if url.drivername == "sqlite":
        _check_file(url)
    elif url.drivername != "postgresql+psycopg":
        raise UnsupportedLedger(
            f"The ledger lives in sqlite:///... or postgresql+psycopg://..., not in {url.drivername}://."
        )
    if url.port is not None and not 1 <= url.port <= 65535:
        raise UnsupportedLedger("The port of the ledger's url is not from 1 to 65535.")
    return url


def _check_file(url: URL) -> None:
    """Refuse SQLite without a file."""
    if url.host is not None:
        raise UnsupportedLedger("The ledger's file follows three slashes: sqlite:///var/ledger.db.")
    if not url.database or url.database in (":memory:", "file::memory:") or url.query.get("mode") == "memory":
        raise UnsupportedLedger(
            "The ledger needs a file, such as sqlite:///var/ledger.db: what is in memory is forgotten with its process."
        )
