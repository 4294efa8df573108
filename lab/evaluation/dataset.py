"""What a reader finds on a public data set, beside what its annotators marked.

Unlike a phantom's, this truth has gaps. Regions say that calcifications lie somewhere in them; points may be set beside
their calcification; and only where annotators marked all that there is can a mark elsewhere be called false.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from lab.datasets import Split, catalogue_of
from lab.datasets.annotation import STEP, Annotation, annotation_of
from lab.datasets.case import Case, DatasetKind, Mark, Pathology
from lab.datasets.pictures import UnusableImage, open_case
from lab.evaluation.matching import FEWEST_HITS, SMALLEST_SHARE, stored_places
from lab.evaluation.observation import WatchedReader
from mammography.coordinates import ImagePoint
from mammography.finding import Finding, FindingKind, ReadStatus
from mammography.mammogram import Mammogram, UnreadableMammogram
from mammography.reader.clustering import clusters_of
from mammography.reader.plan import ReaderPlan
from mammography.reader.weights_folder import OpenedWeights
from mammography.view import Laterality

MARGIN_MM = 1.0
"""Outlines are drawn by hand: what lies so near to one counts as inside."""
REACH_MM = 0.8
"""A point of the reader so near to the rim of a marked calcification is on it."""
NOWHERE, FORGIVEN = -1, -2
"""In the place of a lesion's number: on nothing that is marked; on something that nobody asks for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MarkedLesion:
    """A region or group that annotators marked, with the surest of the reader's marks on it, None without one."""

    detection: float | None
    suspicion: float | None
    malignant: bool | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetImage:
    """One image. `clear`: whether what nobody marked is no calcification; other images have no false marks.

    `specks`: the best score on each calcification that was marked by itself, 0 without a point there.
    `highest`: the surest mark's detection score, 0 without one. `suspicion`: the highest of the reported findings.
    """

    patient: str
    laterality: Laterality | None
    reason: str | None
    clear: bool
    lesions: tuple[MarkedLesion, ...]
    false_marks: tuple[float, ...]
    specks: tuple[float, ...]
    false_specks: tuple[float, ...]
    highest: float
    suspicion: float
    calcified: bool | None
    malignant: bool | None


def cases_of(kind: DatasetKind, folder: Path, split: Split) -> tuple[tuple[str, ...], list[Case]]:
    """Return why cases of a data set cannot be used, and those of a split that can, patient by patient.

    Raises:
        lab.datasets.UnusableDataset: if the folder is not laid out as that data set is.
    """
    catalogue = catalogue_of(kind, folder)
    cases = [case for case in catalogue.cases if case.split is split]
    return catalogue.skipped, sorted(cases, key=lambda case: (case.patient, case.image.name))


def observe(cases: Sequence[Case], weights: OpenedWeights) -> Iterator[DatasetImage | str]:
    """Yield what the reader finds on every case, or the sentence why a case cannot be used."""
    reader = WatchedReader(weights)
    for case in cases:
        try:
            mammogram, _ = open_case(case)
            annotation = annotation_of(
                case, rows=mammogram.rows, columns=mammogram.columns, spacing_mm=mammogram.spacing_mm
            )
        except (UnusableImage, UnreadableMammogram) as unusable:
            yield str(unusable)
            continue
        yield _observed(case, mammogram, annotation, reader)


def _observed(
    case: Case, mammogram: Mammogram, annotation: Annotation, reader: WatchedReader
) -> DatasetImage:
    """Return what the reader finds on one case."""
    reader.seen.clear()
    reading = reader.answer(mammogram).reading
    truth = _Truth(case, annotation, mammogram.spacing_mm, reader.plan)
    findings: list[Finding] = []
    scores, places = np.zeros(0), np.zeros((0, 2))
    if reading.status is ReadStatus.READ:
        (seen,) = reader.seen.values()
        scores, places = seen.points.scores, stored_places(seen.points, seen.grid)
        findings = [f for f in seen.reading.findings if f.kind is FindingKind.CLUSTER]
    found = [(finding, *truth.judge(finding)) for finding in findings]
    on_nothing = truth.numbers(places) == NOWHERE
    return DatasetImage(
        patient=case.patient,
        laterality=case.view.laterality if case.view else None,
        reason=reading.reason,
        clear=annotation.clear,
        lesions=tuple(
            _lesion(malignant, [finding for finding, lesions, _ in found if number in lesions])
            for number, malignant in enumerate(truth.malignant)
        ),
        false_marks=tuple(finding.detection for finding, _, false in found if false and annotation.clear),
        specks=tuple(truth.best_scores(scores, places)),
        false_specks=tuple(scores[on_nothing].tolist()) if annotation.clear else (),
        highest=max((finding.detection for finding in findings), default=0.0),
        suspicion=max((finding.suspicion for finding in reading.findings), default=0.0),
        calcified=case.calcified,
        malignant=_is_malignant(case.pathology),
    )


class _Truth:
    """What lies where on one image. `malignant`: of each lesion to be found, None where nothing is said."""

    def __init__(self, case: Case, annotation: Annotation, spacing_mm: float, plan: ReaderPlan) -> None:
        self.spacing_mm = spacing_mm
        reach = 2 * round(MARGIN_MM / spacing_mm / STEP) + 1
        self._regions = ndimage.maximum_filter(annotation.regions, size=reach)
        self._bags = {number: index for index, number in enumerate(annotation.bags)}
        said = [region.pathology or case.pathology for region in case.regions]
        if len(said) != len(annotation.bags):
            said = [case.pathology] * len(annotation.bags)
        self._marks = annotation.marks
        alone = [mark for mark in annotation.marks if self._region(mark.center) == NOWHERE]
        self._mark_numbers, groups = self._grouped(alone, plan, first=len(said))
        self._alone = alone
        self.malignant = [_is_malignant(pathology) for pathology in [*said, *[case.pathology] * groups]]

    def judge(self, finding: Finding) -> tuple[set[int], bool]:
        """Return the lesions that a cluster of the reader marks, and whether it marks nothing at all."""
        numbers = self.numbers(np.array([speck.center for speck in finding.specks]))
        counts = Counter(numbers[numbers >= 0].tolist())
        lesions = {number for number, count in counts.items() if count >= FEWEST_HITS}
        if lesions and (numbers >= 0).mean() >= SMALLEST_SHARE:
            return lesions, False
        return set(), bool((numbers != NOWHERE).sum() < max(FEWEST_HITS, len(numbers) / 2))

    def numbers(self, places: NDArray[np.float64]) -> NDArray[np.int64]:
        """Return, for each place (column, row), the lesion there, NOWHERE or FORGIVEN."""
        numbers = np.array([self._region(ImagePoint(*place)) for place in places], dtype=np.int64)
        for mark, number in zip(self._alone, self._mark_numbers, strict=True):
            numbers[self._on(mark, places)] = number
        return numbers

    def best_scores(self, scores: NDArray[np.float64], places: NDArray[np.float64]) -> list[float]:
        """Return the best score on each calcification that was marked by itself, 0 without one."""
        return [float(scores[self._on(mark, places)].max(initial=0.0)) for mark in self._marks]

    def _region(self, place: ImagePoint) -> int:
        """Return the lesion whose region holds a place, NOWHERE or FORGIVEN."""
        rows, columns = self._regions.shape
        row, column = int(place.row / STEP), int(place.column / STEP)
        number = int(self._regions[min(max(row, 0), rows - 1), min(max(column, 0), columns - 1)])
        return self._bags.get(number, FORGIVEN) if number else NOWHERE

    def _on(self, mark: Mark, places: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Return which places lie on a marked calcification."""
        reach = (mark.diameter_px or 0.0) / 2 + REACH_MM / self.spacing_mm
        distances = np.hypot(places[:, 0] - mark.center.column, places[:, 1] - mark.center.row)
        return np.asarray(distances <= reach, dtype=np.bool_)

    def _grouped(self, marks: Sequence[Mark], plan: ReaderPlan, *, first: int) -> tuple[list[int], int]:
        """Return the lesion of each mark (FORGIVEN for singles), counted from `first`, and how many there are."""
        numbers = [FORGIVEN] * len(marks)
        places = np.array([(mark.center.row, mark.center.column) for mark in marks]).reshape(-1, 2)
        groups = clusters_of(places * self.spacing_mm, plan)
        for number, members in enumerate(groups, start=first):
            for member in members:
                numbers[member] = number
        return numbers, len(groups)


def _lesion(malignant: bool | None, findings: Sequence[Finding]) -> MarkedLesion:
    """Return a lesion with the surest of the marks on it."""
    best = max(findings, key=lambda finding: finding.detection, default=None)
    return MarkedLesion(
        detection=None if best is None else best.detection,
        suspicion=None if best is None else best.suspicion,
        malignant=malignant,
    )


def _is_malignant(pathology: Pathology | None) -> bool | None:
    return None if pathology is None else pathology is Pathology.MALIGNANT
