"""Tables that come with a data set, as CSV."""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

from lab.datasets.case import UnusableDataset

Row = Mapping[str, str]
"""One line of a table: its values by the names of the columns, both stripped."""
TITLE_LINES = 10
"""The line with the column names is among so many; titles may stand above it."""


def read_table(path: Path, columns: Sequence[str]) -> list[Row]:
    """Return the lines of a CSV table, comma or semicolon between values, by the names in `columns`.

    Column names are compared by their letters and digits alone: "breast_density" is "Breast density". Empty
    lines are left out.

    Raises:
        UnusableDataset: if the table cannot be read, or a column is missing.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
        head = text[:2000]
        delimiter = ";" if head.count(";") > head.count(",") else ","
        lines = list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter))
    except (OSError, UnicodeDecodeError, csv.Error) as cause:
        raise UnusableDataset(f"The table {path} cannot be read: {cause}.") from cause
    for number, line in enumerate(lines[:TITLE_LINES]):
        places = {_plain(name): place for place, name in reversed(list(enumerate(line)))}
        if all(_plain(name) in places for name in columns):
            wanted = {name: places[_plain(name)] for name in columns}
            return [_row(values, wanted) for values in lines[number + 1 :] if any(map(str.strip, values))]
    raise UnusableDataset(f"The table {path} has not all of the columns {', '.join(columns)}.")


def find_table(folder: Path, stem: str) -> Path:
    """Return the CSV table whose name begins with `stem`, in a folder or below it; the uppermost if several.

    Raises:
        UnusableDataset: if there is none, or only as an Excel sheet, with the sentence what to do.
    """
    found = sorted(folder.rglob(f"{stem}*.csv"), key=lambda path: (len(path.parts), path))
    if found:
        return found[0]
    sheets = sorted([*folder.rglob(f"{stem}*.xlsx"), *folder.rglob(f"{stem}*.xls")])
    if sheets:
        raise UnusableDataset(
            f"The table {sheets[0]} is an Excel sheet: save it beside it as {sheets[0].with_suffix('.csv').name}, "
            f"in any spreadsheet or with: soffice --headless --convert-to csv {sheets[0].name}"
        )
    raise UnusableDataset(
        f"The folder {folder} holds no {stem}.csv: docs/datasets.md says what it should hold."
    )


def _row(values: Sequence[str], wanted: Mapping[str, int]) -> Row:
    """Return the wanted values of a line; "" where the line is too short."""
    return {name: values[place].strip() if place < len(values) else "" for name, place in wanted.items()}


def _plain(name: str) -> str:
    """Return a column's name as it is compared."""
    return "".join(letter for letter in name.casefold() if letter.isalnum())
