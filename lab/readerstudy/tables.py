"""The tables that reader studies are made of: what was read, what is true, what the model said.

A study is a folder of reads.csv, truth.csv and, where the model was measured alone, model.csv: UTF-8, commas, one header
line. Several folders, such as those of several hospitals, are one study with the site as a factor. Every mistake of
every file is told at once, by line.
"""

import csv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from lab.readerstudy.lines import UnreadableTable, lines_of

READS_FILE, TRUTH_FILE, MODEL_FILE = "reads.csv", "truth.csv", "model.csv"


class Truth(StrEnum):
    """What a case or a lesion really is."""

    MALIGNANT = "malignant"
    BENIGN = "benign"
    NORMAL = "normal"


class Condition(StrEnum):
    """Whether a reader saw what the model marks."""

    WITHOUT = "without"
    WITH = "with"


class BiRads(StrEnum):
    """BI-RADS assessment categories (ACR BI-RADS Atlas, 5th edition)."""

    INCOMPLETE = "0"
    NEGATIVE = "1"
    BENIGN = "2"
    PROBABLY_BENIGN = "3"
    SUSPICIOUS = "4"
    LOW_SUSPICION = "4A"
    MODERATE_SUSPICION = "4B"
    HIGH_SUSPICION = "4C"
    HIGHLY_SUGGESTIVE = "5"


class Mark(StrEnum):
    """Whether a place was marked."""

    YES = "yes"
    NO = "no"


class Call(StrEnum):
    """What the model called something at its operating point."""

    POSITIVE = "positive"
    NEGATIVE = "negative"


Key = Annotated[str, Field(min_length=1, max_length=64)]
SCORE = Field(default=None, ge=0, le=100, allow_inf_nan=False, description="how surely malignant, 0 to 100")


class Row(BaseModel):
    """One line of a table: keys of sites, cases and lesions are the same in all of a study's tables."""

    model_config = ConfigDict(frozen=True, extra="forbid", str_strip_whitespace=True)

    site: str = Field(
        default="", max_length=64, description="hospital; the folder's name where folders are merged"
    )
    case: Key = Field(
        description="key of what is read as one, such as a study or a breast; no patient's name or number"
    )
    lesion: str = Field(
        default="", max_length=64, description="key of the lesion within its case; empty: the case as a whole"
    )


class TruthRow(Row):
    """One line of truth.csv: a lesion, or a case of which no lesion is told."""

    patient: str = Field(
        default="",
        max_length=64,
        description="pseudonym; cases of one patient belong together; else the case",
    )
    truth: Truth = Field(description="by pathology or follow-up; normal has no lesion")
    basis: str = Field(default="", description="pathology, follow-up, phantom, ...")
    density: str = Field(default="", pattern="^[A-D]?$", description="BI-RADS density A to D")
    morphology: str = Field(default="", description="of the lesion's calcifications, in BI-RADS words")
    distribution: str = Field(default="", description="of the lesion's calcifications, in BI-RADS words")
    vendor: str = Field(default="", description="maker of the mammography machine")


class ReadRow(Row):
    """One line of reads.csv: what one reader said of a lesion, of a place that is none, or of a case as a whole."""

    reader: Key = Field(description="pseudonym of the reader")
    condition: Condition = Field(description="whether the model's marks were shown")
    mark: Mark | None = Field(
        default=None,
        description="yes without a lesion: a false mark; no with a lesion: missed, as if the line were not there",
    )
    birads: BiRads | None = Field(
        default=None, description="BI-RADS category; 0 and 4 to 5 are positive calls"
    )
    score: float | None = SCORE
    session: int | None = Field(
        default=None, ge=1, description="which reading session, as `design` planned it"
    )
    order: int | None = Field(default=None, ge=1, description="place in that session")


class ModelRow(Row):
    """One line of model.csv: what the model said of a lesion, of a place that is none, or of a case as a whole."""

    mark: Mark | None = Field(default=None, description="as in reads.csv")
    score: float = Field(ge=0, le=100, allow_inf_nan=False, description="how surely malignant, 0 to 100")
    call: Call | None = Field(default=None, description="at the operating point; else the score decides")
    model: str = Field(default="", description="name and version of the model and its weights")


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyTables:
    """A whole study. Readers of several folders are different people: their names begin with the folder's."""

    truth: tuple[TruthRow, ...]
    reads: tuple[ReadRow, ...]
    model: tuple[ModelRow, ...]


class BrokenTables(Exception):
    """Tables that cannot be analysed; `mistakes` names every one by file and line."""

    def __init__(self, mistakes: Sequence[str]) -> None:
        self.mistakes = tuple(sorted(mistakes, key=_place))
        super().__init__("\n".join(self.mistakes))


def _place(mistake: str) -> tuple[str, int]:
    """Return the file that a mistake is in, and the line."""
    file, _, line = mistake.partition(":")[0].partition(" line ")
    return file, int(line) if line.isdigit() else 0


RowKind = TypeVar("RowKind", bound=Row)
Lines = list[tuple[str, RowKind]]
"""Rows, each with where it stands: "reads.csv line 7"."""


def open_study(folders: Sequence[Path]) -> StudyTables:
    """Return the tables of one folder, or those of several merged, each being a site unless its tables name sites.

    Raises:
        BrokenTables: with every mistake of every file.
    """
    mistakes: list[str] = []
    repeated = {folder.name for folder in folders if [each.name for each in folders].count(folder.name) > 1}
    mistakes += [
        f"Two folders are named {name}: give each site a name of its own." for name in sorted(repeated)
    ]
    truth: list[TruthRow] = []
    reads: list[ReadRow] = []
    model: list[ModelRow] = []
    for folder in folders:
        prefix = f"{folder.name}/" if len(folders) > 1 else ""
        site = folder.name if len(folders) > 1 else ""
        truths = _rows(TruthRow, folder / TRUTH_FILE, prefix, mistakes)
        said = _rows(ReadRow, folder / READS_FILE, prefix, mistakes)
        machine = _rows(ModelRow, folder / MODEL_FILE, prefix, mistakes, needed=False)
        _compare(truths, said, machine, mistakes)
        truth += [row.model_copy(update={"site": row.site or site}) for _, row in truths]
        reads += [
            row.model_copy(update={"site": row.site or site, "reader": prefix + row.reader})
            for _, row in said
        ]
        model += [row.model_copy(update={"site": row.site or site}) for _, row in machine]
    if mistakes:
        raise BrokenTables(mistakes)
    return StudyTables(truth=tuple(truth), reads=tuple(reads), model=tuple(model))


def open_truth(file: Path) -> tuple[TruthRow, ...]:
    """Return a truth.csv alone, such as that of a study yet to be read.

    Raises:
        BrokenTables: with every mistake of the file.
    """
    mistakes: list[str] = []
    rows = _rows(TruthRow, file, "", mistakes)
    _compare(rows, [], [], mistakes)
    if mistakes:
        raise BrokenTables(mistakes)
    return tuple(row for _, row in rows)


def write_rows(file: Path, kind: type[Row], rows: Iterable[Row]) -> None:
    """Write a table with all columns of its kind; what is not known stays empty."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, list(kind.model_fields), lineterminator="\n")
        writer.writeheader()
        for row in rows:
            writer.writerow({name: _cell(value) for name, value in row.model_dump(mode="json").items()})


def _cell(value: object) -> object:
    """Return a value as it stands in a table."""
    return "" if value is None else f"{value:g}" if isinstance(value, float) else value


def _rows(
    kind: type[RowKind], file: Path, prefix: str, mistakes: list[str], *, needed: bool = True
) -> Lines[RowKind]:
    """Return the good rows of a file, and tell what is wrong with the others."""
    name = prefix + file.name
    if not file.is_file():
        mistakes += [f"{name}: there is no {file}."] if needed else []
        return []
    try:
        header, *lines = lines_of(file)
    except UnreadableTable as cause:
        mistakes.append(f"{name}{cause}")
        return []
    absent = _judge_header(kind, header[1], f"{name} line {header[0]}", mistakes)
    found: Lines[RowKind] = []
    for line, cells in lines:
        place = f"{name} line {line}"
        if len(cells) != len(header[1]):
            mistakes.append(f"{place}: {len(cells)} cells, but the header has {len(header[1])}.")
            continue
        given = {
            column: cell
            for column, cell in zip(header[1], cells, strict=True)
            if column in kind.model_fields and cell
        }
        try:
            found.append((place, kind.model_validate(given)))
        except ValidationError as refused:
            mistakes += [
                f"{place}: {told}" for error in refused.errors() if (told := _told(dict(error), absent))
            ]
    if not lines and not absent:
        mistakes.append(f"{name}: there is no line below the header.")
    return found


def _judge_header(kind: type[Row], header: Sequence[str], place: str, mistakes: list[str]) -> set[str]:
    """Tell what is wrong with a header; return the needed columns that it lacks."""
    fields = kind.model_fields
    absent = {column for column, field in fields.items() if field.is_required()} - set(header)
    mistakes += [f"{place}: the column {column} is missing." for column in fields if column in absent]
    mistakes += [
        f"{place}: the column {column or '(without a name)'} is not known; "
        + (f"write {column.lower()}." if column.lower() in fields else f"known are {', '.join(fields)}.")
        for column in header
        if column not in fields
    ]
    mistakes += [
        f"{place}: the column {column} is there {header.count(column)} times."
        for column in fields
        if header.count(column) > 1
    ]
    return absent


def _told(error: dict[str, object], absent: set[str]) -> str | None:
    """Return a cell's mistake as a sentence; None where the header's mistake says it already."""
    place = error["loc"]
    column = str(place[0]) if isinstance(place, tuple) and place else "line"
    if error["type"] == "missing":
        return None if column in absent else f"{column} is empty."
    if error["type"] == "float_parsing":
        return f"{column} is {error['input']!r}, but should be a number with a decimal point, such as 71.5."
    said = str(error["msg"]).removeprefix("Input should ").removeprefix("be ")
    return f"{column} is {error['input']!r}, but should be {said}."


def _compare(
    truth: Lines[TruthRow], reads: Lines[ReadRow], model: Lines[ModelRow], mistakes: list[str]
) -> None:
    """Tell what the tables of one folder say against themselves or each other."""
    _compare_truth(truth, mistakes)
    cases = {(row.site, row.case) for _, row in truth}
    lesions = {(row.site, row.case, row.lesion) for _, row in truth}
    for place, row in [*reads, *model]:
        if not cases:
            break
        if (row.site, row.case) not in cases:
            mistakes.append(f"{place}: case {_named(row)} is not in {TRUTH_FILE}.")
        elif row.lesion and (row.site, row.case, row.lesion) not in lesions:
            mistakes.append(f"{place}: case {_named(row)} has no lesion {row.lesion} in {TRUTH_FILE}.")
    for place, read in reads:
        missed = read.lesion and read.mark is Mark.NO
        if read.birads is None and read.score is None and not missed:
            mistakes.append(f"{place}: neither birads nor score is given.")
    _refuse_doubles(
        [
            (place, f"{row.reader} read case {_named(row)} {row.condition} the model", row.lesion, row.mark)
            for place, row in reads
        ],
        mistakes,
    )
    _refuse_doubles(
        [(place, f"the model read case {_named(row)}", row.lesion, row.mark) for place, row in model],
        mistakes,
    )


def _compare_truth(truth: Lines[TruthRow], mistakes: list[str]) -> None:
    """Tell where lines of the truth do not fit each other."""
    first: dict[tuple[str, str], tuple[str, TruthRow]] = {}
    seen: dict[tuple[str, str, str], str] = {}
    for place, row in truth:
        if row.truth is Truth.NORMAL and row.lesion:
            mistakes.append(f"{place}: lesion {row.lesion} is said to be normal.")
        before = seen.setdefault((row.site, row.case, row.lesion), place)
        if before != place:
            what = f"lesion {row.lesion} of case" if row.lesion else "case"
            mistakes.append(f"{place}: {what} {_named(row)} stands on {before} already.")
        earlier, one = first.setdefault((row.site, row.case), (place, row))
        mistakes += [
            f"{place}: case {_named(row)} has {column} {getattr(row, column) or '(none)'} here, but "
            f"{getattr(one, column) or '(none)'} on {earlier}."
            for column in ("patient", "density", "vendor")
            if getattr(one, column) != getattr(row, column)
        ]
        if before == place and earlier != place and not (row.lesion and one.lesion):
            mistakes.append(
                f"{place}: case {_named(row)} has a line without a lesion beside lines of lesions."
            )


def _refuse_doubles(said: Iterable[tuple[str, str, str, Mark | None]], mistakes: list[str]) -> None:
    """Tell of lines that say the same thing twice; several false marks on one case are no double."""
    seen: dict[tuple[str, str], str] = {}
    for place, what, lesion, mark in said:
        if mark is Mark.YES and not lesion:
            continue
        before = seen.setdefault((what, lesion), place)
        if before != place:
            of = f", lesion {lesion}," if lesion else ""
            mistakes.append(f"{place}: {what}{of} on {before} already.")


def _named(row: Row) -> str:
    """Return a case's key, with its site where there is one."""
    return f"{row.case} of site {row.site}" if row.site else row.case
