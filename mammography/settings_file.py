"""One TOML file of settings, read by each door with its own model; every mistake is reported at once.

Secrets and addresses that a supervisor decides come from the environment: MAMMOCALC_LEDGER_URL and
MAMMOCALC_QUEUE_URL replace [ledger].url and [queue].url. MAMMOCALC_CONFIG names the file.
"""

import os
import re
import tomllib
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, TypeVar
from urllib.parse import unquote, urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from mammography.ledger.url import UnsupportedLedger, ledger_url

Settings = TypeVar("Settings", bound=BaseModel)

FROM_ENVIRONMENT = {"MAMMOCALC_LEDGER_URL": ("ledger", "url"), "MAMMOCALC_QUEUE_URL": ("queue", "url")}


LONGEST = timedelta(days=36_525)
"""A hundred years: a moment so long ago, or so far ahead, still has a date."""


class SettingsRefused(Exception):
    """The settings cannot be used; the message holds one sentence for each mistake."""


def _ledger_url(url: str) -> str:
    """Refuse what the ledger cannot live in."""
    try:
        ledger_url(url)
    except UnsupportedLedger as refused:
        raise ValueError(str(refused).removesuffix(".")) from refused
    return url


def _queue_url(url: str) -> str:
    """Refuse a port or a database of Redis that is no number."""
    if not url.startswith(("redis://", "rediss://")):
        return url
    try:
        parts = urlsplit(url)
        are_numbers = parts.port != 0 and re.fullmatch("[0-9]*", unquote(parts.path).strip("/")) is not None
    except ValueError:
        are_numbers = False
    if not are_numbers:
        raise ValueError("a queue's url is like redis://host:6379/0: port and database are numbers")
    return url


class Section(BaseModel):
    """One section of the file: frozen, and a key that it does not know is a mistake."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class LedgerSection(Section):
    """[ledger]."""

    url: Annotated[str, AfterValidator(_ledger_url)] = "sqlite:///var/ledger.db"
    """sqlite:///path or postgresql+psycopg://user@host/database."""


class QueueSection(Section):
    """[queue]."""

    url: Annotated[str, AfterValidator(_queue_url)] = Field(
        default="embedded", pattern=r"^(embedded$|rediss?://|redis\+socket://)"
    )
    """"embedded" starts a server of our own beside the node; else redis://host:port/number."""


class ReaderSection(Section):
    """[reader]."""

    weights: Path | None = None
    """Folder of weights, plan and card; the shipped ones where none is given."""
    lease: timedelta = Field(default=timedelta(seconds=60), ge=timedelta(seconds=1), le=LONGEST)
    """How long a worker that gives no sign of life keeps a study."""
    most_claims: int = Field(default=3, ge=1)
    """After so many workers died on a study it waits for a person."""


def load_settings(model: type[Settings], file: Path | None = None) -> Settings:
    """Read the settings of one door.

    `file`: the TOML file; else the one that MAMMOCALC_CONFIG names; else the defaults.

    Raises:
        SettingsRefused: with a sentence for each mistake: no such file, not TOML, unknown key, bad value.
    """
    named = file or (Path(os.environ["MAMMOCALC_CONFIG"]) if os.environ.get("MAMMOCALC_CONFIG") else None)
    values = _read(named) if named else {}
    for variable, (section, key) in FROM_ENVIRONMENT.items():
        if os.environ.get(variable):
            values.setdefault(section, {})[key] = os.environ[variable]
    try:
        return model.model_validate(values)
    except ValidationError as refused:
        where = f" in {named}" if named else ""
        sentences = [_sentence(mistake, where) for mistake in refused.errors()]
        raise SettingsRefused("\n".join(sentences)) from refused


def _read(file: Path) -> dict[str, Any]:
    """Return the tables of a TOML file."""
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise SettingsRefused(f"There is no settings file {file}; name another with --config.") from None
    except (OSError, UnicodeDecodeError) as unreadable:
        raise SettingsRefused(f"The settings file {file} cannot be read: {unreadable}.") from unreadable
    except tomllib.TOMLDecodeError as broken:
        raise SettingsRefused(f"The settings file {file} is not TOML: {broken}.") from broken


def _sentence(mistake: Any, where: str) -> str:
    """Return what is wrong with one key, such as "[node].port in a.toml: Input should be ..., not 0."."""
    table, *rest = [str(part) for part in mistake["loc"]] or ["settings"]
    name = f"[{table}]" + "".join(f".{part}" for part in rest)
    if mistake["type"] == "extra_forbidden":
        return f"{name}{where} is not a setting; check its spelling."
    given = mistake["input"]
    is_url = isinstance(given, str) and ("://" in given or "@" in given)  # it may hold a password
    shown = f", not {given!r}" if isinstance(given, str | int | float | bool) and not is_url else ""
    return f"{name}{where}: {mistake['msg']}{shown}."
