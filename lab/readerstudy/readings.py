"""The tables of a study as arrays: for every reading, what it says of each case and of each lesion."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from lab.readerstudy.combination import Opinion
from lab.readerstudy.tables import (
    BiRads,
    Call,
    Condition,
    Mark,
    ModelRow,
    ReadRow,
    StudyTables,
    Truth,
    TruthRow,
)

BIRADS_SCORES: Mapping[BiRads, float] = {
    BiRads.NEGATIVE: 0.0,
    BiRads.BENIGN: 15.0,
    BiRads.PROBABLY_BENIGN: 35.0,
    BiRads.INCOMPLETE: 50.0,
    BiRads.LOW_SUSPICION: 55.0,
    BiRads.MODERATE_SUSPICION: 70.0,
    BiRads.SUSPICIOUS: 70.0,
    BiRads.HIGH_SUSPICION: 85.0,
    BiRads.HIGHLY_SUGGESTIVE: 100.0,
}
"""Where a category stands among scores: in its order, recalls from 50 on. Areas depend on the order alone."""
POSITIVE_SCORE = 50.0
"""From this score on a reading without category or call is a positive call."""

Level = Literal["case", "lesion"]
"""What is judged: cases as a whole, or every lesion for itself."""
GROUPS = ("site", "vendor", "density", "truth", "morphology", "distribution")
"""What cases and lesions are grouped by."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Units:
    """What is judged. `positive`: [units], malignant; `patients`: [units], counted from 0; `groups`: [units] each."""

    positive: NDArray[np.bool_]
    patients: NDArray[np.int64]
    groups: Mapping[str, NDArray[np.str_]]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Reading:
    """What one reader said under one condition; the model is a reader without condition.

    `cases`, `lesions`: opinions of each, a lesion without a mark being scored 0. `lesion_marks`: [lesions], the score
    of its mark, minus infinity without one, NaN where its case was not read; `highest_false`: [cases], likewise;
    `false_marks`: every false mark's score and case.
    """

    reader: str
    condition: Condition | None
    cases: Opinion
    lesions: Opinion
    lesion_marks: NDArray[np.float64]
    highest_false: NDArray[np.float64]
    false_marks: tuple[tuple[float, int], ...]

    @property
    def name(self) -> str:
        """The reader and the condition, in words."""
        return self.reader if self.condition is None else f"{self.reader} {self.condition} the model"

    def opinion(self, level: Level) -> Opinion:
        """Return what was said at a level."""
        return self.cases if level == "case" else self.lesions


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Study:
    """A whole study. `lesion_case`: [lesions], the case each lies in, counted from 0."""

    cases: Units
    lesions: Units
    lesion_case: NDArray[np.int64]
    readings: tuple[Reading, ...]
    model: Reading | None
    model_name: str

    @property
    def readers(self) -> tuple[str, ...]:
        """Every reader, once, in the order of the alphabet."""
        return tuple(sorted({reading.reader for reading in self.readings}))

    def units(self, level: Level) -> Units:
        """Return what is judged at a level."""
        return self.cases if level == "case" else self.lesions

    def reading(self, reader: str, condition: Condition) -> Reading | None:
        """Return what a reader said under a condition, None where there is nothing."""
        found = (each for each in self.readings if each.reader == reader and each.condition is condition)
        return next(found, None)


CaseKey = tuple[str, str]


def study_of(tables: StudyTables, *, positive_score: float = POSITIVE_SCORE) -> Study:
    """Return the arrays of a study. `positive_score`: from which score on a line without call is positive."""
    cases: dict[CaseKey, list[TruthRow]] = {}
    for row in sorted(tables.truth, key=lambda row: (row.site, row.case, row.lesion)):
        cases.setdefault((row.site, row.case), []).append(row)
    lesions = [row for rows in cases.values() for row in rows if row.lesion]
    places = {key: number for number, key in enumerate(cases)}
    build = _Builder(
        cases=places,
        lesions={(row.site, row.case, row.lesion): number for number, row in enumerate(lesions)},
        positive_score=positive_score,
    )
    by_reading: dict[tuple[str, Condition], list[ReadRow]] = {}
    for read in tables.reads:
        by_reading.setdefault((read.reader, read.condition), []).append(read)
    patients = {(row.site, row.patient or row.case): 0 for rows in cases.values() for row in rows}
    patients = {key: number for number, key in enumerate(sorted(patients))}
    wholes = [_whole(rows) for rows in cases.values()]
    return Study(
        cases=_units(wholes, patients),
        lesions=_units(lesions, patients),
        lesion_case=np.array([places[row.site, row.case] for row in lesions], dtype=np.int64),
        readings=tuple(build.reading(*key, rows) for key, rows in sorted(by_reading.items())),
        model=build.reading("the model", None, tables.model) if tables.model else None,
        model_name=", ".join(sorted({row.model for row in tables.model if row.model})),
    )


def _whole(rows: Sequence[TruthRow]) -> TruthRow:
    """Return a case as one row: as malignant as its worst lesion, of that lesion's kind."""
    order = list(Truth)
    return min(rows, key=lambda row: order.index(row.truth))


def _units(rows: Sequence[TruthRow], patients: Mapping[CaseKey, int]) -> Units:
    """Return cases or lesions as arrays."""
    return Units(
        positive=np.array([row.truth is Truth.MALIGNANT for row in rows], dtype=np.bool_),
        patients=np.array([patients[row.site, row.patient or row.case] for row in rows], dtype=np.int64),
        groups={
            group: np.array([str(getattr(row, group)) for row in rows], dtype=np.str_) for group in GROUPS
        },
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Builder:
    """Fills in arrays: where cases and lesions stand in them, and what counts as a positive call."""

    cases: Mapping[CaseKey, int]
    lesions: Mapping[tuple[str, str, str], int]
    positive_score: float

    def reading(
        self, reader: str, condition: Condition | None, rows: Iterable[ReadRow | ModelRow]
    ) -> Reading:
        """Return what one reader's rows say."""
        case_scores, case_calls = np.full(len(self.cases), np.nan), np.zeros(len(self.cases), dtype=np.bool_)
        marks, calls = np.full(len(self.lesions), -np.inf), np.zeros(len(self.lesions), dtype=np.bool_)
        highest_false = np.full(len(self.cases), -np.inf)
        false_marks: list[tuple[float, int]] = []
        for row in rows:
            case, score, call = self.cases[row.site, row.case], _score(row), self._call(row)
            case_scores[case] = np.nanmax([case_scores[case], score])
            case_calls[case] |= call
            if row.lesion and row.mark is not Mark.NO:
                lesion = self.lesions[row.site, row.case, row.lesion]
                marks[lesion], calls[lesion] = score, call
            elif row.mark is Mark.YES:
                false_marks.append((score, case))
                highest_false[case] = max(highest_false[case], score)
        unread = np.isnan(case_scores)
        of_lesions = unread[np.array([self.cases[key[:2]] for key in self.lesions], dtype=np.int64)]
        highest_false[unread], marks[of_lesions] = np.nan, np.nan
        return Reading(
            reader=reader,
            condition=condition,
            cases=Opinion(scores=case_scores, calls=case_calls, found=~unread),
            lesions=Opinion(
                scores=np.where(np.isneginf(marks), 0.0, marks), calls=calls, found=np.isfinite(marks)
            ),
            lesion_marks=marks,
            highest_false=highest_false,
            false_marks=tuple(false_marks),
        )

    def _call(self, row: ReadRow | ModelRow) -> bool:
        """Return whether a line is a positive call: by category or call where given, else by score."""
        if isinstance(row, ReadRow) and row.birads is not None:
            return BIRADS_SCORES[row.birads] >= POSITIVE_SCORE
        if isinstance(row, ModelRow) and row.call is not None:
            return row.call is Call.POSITIVE
        return _score(row) >= self.positive_score


def _score(row: ReadRow | ModelRow) -> float:
    """Return a line's score; a category's place among scores without one, and 0 of a missed lesion."""
    if isinstance(row, ModelRow):
        return row.score
    if row.score is not None:
        return row.score
    return 0.0 if row.birads is None else BIRADS_SCORES[row.birads]
