"""Statements that run for every instance: their text is made once, for each database and number of rows.

The library remembers what it compiled, too, but looks at the whole statement anew whenever it runs. That takes 60 to 110 µs, of which
SQLite has 5 to 20.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from sqlalchemy import BindParameter, ClauseElement, ColumnElement, Connection, Executable, bindparam
from sqlalchemy.engine import Dialect
from sqlalchemy.engine.interfaces import DBAPICursor
from sqlalchemy.exc import DBAPIError
from sqlalchemy.sql.compiler import SQLCompiler

Row = Mapping[str, object]

_OF_ROW = "__"
_MOST_TOGETHER = 100
"""Rows of one statement: a database takes only so many parameters."""


class _Value(NamedTuple):
    """Where a parameter of the driver takes its value."""

    parameter: str
    row: int
    name: str
    process: Callable[[Any], object] | None


class _Text(NamedTuple):
    """A statement as the driver takes it; its parameters are known by their places or by their names."""

    text: str
    values: tuple[_Value, ...]
    by_place: bool

    def parameters(self, rows: Sequence[Row]) -> Any:
        """Return the values of these rows: a tuple, or a dictionary where parameters are known by name."""
        values = [
            value.process(rows[value.row][value.name]) if value.process else rows[value.row][value.name]
            for value in self.values
        ]
        if self.by_place:
            return tuple(values)
        return dict(zip((value.parameter for value in self.values), values, strict=True))


class Prepared:
    """A statement about any number of rows, whose values are given by name.

    `statement` returns it for a dialect and so many rows, with `parameter` for each of their values. What it finds comes as the
    driver returns it; what fails is raised as the library's DBAPIError.
    """

    def __init__(self, statement: Callable[[Dialect, int], Executable]) -> None:
        self._statement = statement
        self._texts: dict[tuple[str, int], _Text] = {}

    def find(self, connection: Connection, rows: Sequence[Row]) -> list[Sequence[Any]]:
        """Run it about all rows at once, and return what it finds."""
        found: list[Sequence[Any]] = []
        for start in range(0, len(rows), _MOST_TOGETHER):
            some = rows[start : start + _MOST_TOGETHER]
            text = self._text(connection.dialect, len(some))
            with _cursor(connection, text) as cursor:
                cursor.execute(text.text, text.parameters(some))
                found += cursor.fetchall()
        return found

    def run(self, connection: Connection, rows: Sequence[Row]) -> None:
        """Run it for one row after the other."""
        if rows:
            text = self._text(connection.dialect, 1)
            with _cursor(connection, text) as cursor:
                cursor.executemany(text.text, [text.parameters([row]) for row in rows])

    def _text(self, dialect: Dialect, rows: int) -> _Text:
        known = self._texts.get((dialect.name, rows))
        if known is None:
            known = self._texts[dialect.name, rows] = _compiled(self._statement(dialect, rows), dialect)
        return known


def parameter(column: ColumnElement[Any], row: int, name: str = "") -> BindParameter[Any]:
    """Return the parameter for a value that goes into or is compared with a column; its name is that of the column."""
    return bindparam(f"{name or column.name}{_OF_ROW}{row}", type_=column.type)


@contextmanager
def _cursor(connection: Connection, text: _Text) -> Iterator[DBAPICursor]:
    """Lend a cursor of the driver within the connection's transaction."""
    driver = connection.dialect.loaded_dbapi
    cursor = connection.connection.cursor()
    try:
        yield cursor
    except driver.Error as failure:
        raise DBAPIError.instance(
            text.text, None, failure, driver.Error, hide_parameters=True, dialect=connection.dialect
        ) from failure
    finally:
        cursor.close()


def _compiled(statement: Executable, dialect: Dialect) -> _Text:
    if not isinstance(statement, ClauseElement):
        raise TypeError(f"{type(statement).__name__} is no statement of the expression language.")
    compiled = statement.compile(dialect=dialect)
    if not isinstance(compiled, SQLCompiler):
        raise TypeError(f"{statement} cannot be run.")
    values: list[_Value] = []
    for key in compiled.positiontup if compiled.positiontup is not None else compiled.binds:
        name, _, row = key.rpartition(_OF_ROW)
        process = compiled.binds[key].type.dialect_impl(dialect).bind_processor(dialect)
        values.append(_Value(key, int(row), name, process))
    return _Text(str(compiled), tuple(values), by_place=compiled.positiontup is not None)
