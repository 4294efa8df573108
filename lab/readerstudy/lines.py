"""The lines of a CSV file, or why there are none: what spreadsheets and editors make of a table."""

import csv
import io
from pathlib import Path


class UnreadableTable(Exception):
    """A file is no table at all; str() goes behind its name: " line 3: ..." or ": ..."."""


def lines_of(file: Path) -> list[tuple[int, list[str]]]:
    """Return the cells of the header and of every line that is not empty, each with the number of its line.

    Columns that are empty from the header down are left out, as spreadsheets add them.

    Raises:
        UnreadableTable: if the file is not UTF-8, a spreadsheet, or has other separators than commas.
    """
    text = _text(file.read_bytes())
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        lines = [(reader.line_num, [cell.strip() for cell in cells]) for cells in reader]
    except csv.Error as cause:
        raise UnreadableTable(f" line {max(reader.line_num, 1)}: this is no CSV: {cause}.") from cause
    lines = [(line, cells) for line, cells in lines if any(cells)]
    if not lines:
        return [(1, [])]
    header = lines[0][1]
    _judge_separator(header)
    while not header[-1] and all(len(cells) == len(lines[0][1]) and not cells[-1] for _, cells in lines):
        lines = [(line, cells[:-1]) for line, cells in lines]
        header = lines[0][1]
    return lines


def _text(data: bytes) -> str:
    """Return what a file says."""
    if data.startswith(b"PK"):
        raise UnreadableTable(": this is a spreadsheet; save it as CSV UTF-8 with commas.")
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise UnreadableTable(": this is UTF-16; save the file as CSV UTF-8 with commas.")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as cause:
        line = data[: cause.start].count(b"\n") + 1
        raise UnreadableTable(
            f" line {line}: a letter is not UTF-8 (byte {data[cause.start]:#04x}); save the file as CSV UTF-8."
        ) from cause


def _judge_separator(header: list[str]) -> None:
    """Refuse a header that other signs than commas divide."""
    if header[0].lower().startswith("sep="):
        raise UnreadableTable(" line 1: begins with sep=; the first line has to be the header.")
    for sign, word in ((";", "semicolons"), ("\t", "tabs")):
        if len(header) == 1 and sign in header[0]:
            raise UnreadableTable(
                f" line 1: {word} stand between the columns; save the file with commas, and numbers with points."
            )
