"""The figures of a measurement: how much is found at how many false marks, how well it is graded, and where not."""

import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from lab.evaluation.calibration import Calibration, calibration_of
from lab.evaluation.froc import FreeResponse, alternative_area, free_response, sensitivity_at, thresholds_at
from lab.evaluation.matching import Verdict
from lab.evaluation.records import ImageRecord, LesionRecord, MarkRecord, StudyRecord
from lab.evaluation.roc import bootstrapped_area
from lab.evaluation.statistics import Interval, wilson
from lab.evaluation.tables import Row, tables_of
from mammography.finding import Morphology
from mammography.reader.plan import ReaderPlan

VISIBILITIES = (5.0, 8.0)
"""Lesions and specks count from these d' on; what is fainter is neither asked for nor punished."""
CLUSTER_RATES = (0.1, 0.25, 0.5, 1.0, 2.0)
SPECK_RATES = (0.5, 1.0, 2.0, 5.0, 10.0)
"""False marks per image at which sensitivities are told."""
NOT_STATED = "not stated"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reached:
    """What an operating point reaches. `others`: marks per image on calcifications that are not asked for."""

    threshold: float
    sensitivity: Interval
    false_marks: float
    others: float
    unmarked: Interval
    """Share of the breasts without any lesion that get no mark at all on any image."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Withheld:
    """What the gate kept back: images, lesions on them, how many would have been found, and false marks."""

    images: int
    lesions: int
    found: int
    false_marks: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """Lesions and specks from one visibility on. Keys of `lesions_at`, `specks_at`: false marks per image."""

    d_prime: float
    lesions: int
    lesions_at: dict[str, Interval]
    specks: int
    specks_at: dict[str, Interval]


@dataclass(frozen=True, slots=True, kw_only=True)
class Grading:
    """How suspicious and benign lesions are told apart: on lesions found at the operating point, and on breasts."""

    suspicious: int
    benign: int
    area: Interval
    suspicious_breasts: int
    other_breasts: int
    breast_area: Interval
    suspicion: Calibration
    """Of lesions found: how often those of a suspicion are of a suspicious morphology."""
    detection: Calibration
    """Of clusters whatever their score: how often they are lesions, those on other calcium left out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """The figures of a measurement; intervals are 95 %, over studies where they follow from a curve."""

    studies: int
    images: int
    not_drawn: int
    """Studies that the phantom could not draw."""
    withheld: Withheld
    reasons: dict[str, int]
    operating_point: str
    reached: dict[str, Reached]
    normal_breasts: int
    easy: int
    easy_outlined: Interval
    """Share of the lesions that anyone would see of which one outline holds at least half."""
    asked: tuple[Asked, ...]
    afroc_area: float
    grading: Grading
    tables: dict[str, list[Row]]
    morphology: dict[str, dict[str, int]]
    """True morphology, what the reader states, and how often; lesions found at the operating point."""
    distribution: dict[str, dict[str, int]]
    large: dict[str, tuple[int, int, int]]
    """Large benign calcifications by kind: asked, marked, and called by their name."""
    false_large: float
    false_near: dict[str, int]
    """What lies beside the false marks of the operating point."""
    pairs: int
    right_pairs: int
    seconds_per_study: float
    """Median, on one processor thread beside whatever else ran."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """One lesion with the best mark on it, None without one; `unit` counts the studies from 0."""

    unit: int
    image: ImageRecord
    lesion: LesionRecord
    mark: MarkRecord | None

    @property
    def detection(self) -> float:
        """The best mark's detection score, minus infinity without one."""
        return -math.inf if self.mark is None else self.mark.detection


def lesions_of(records: Sequence[StudyRecord], *, d_prime: float = VISIBILITIES[0]) -> list[Seen]:
    """Return the lesions that are asked for from a visibility on."""
    return [
        Seen(unit=unit, image=image, lesion=lesion, mark=best_mark(image, lesion))
        for unit, image in images_of(records)
        for lesion in image.lesions
        if lesion.visibility >= d_prime
    ]


def best_mark(image: ImageRecord, lesion: LesionRecord) -> MarkRecord | None:
    """Return the surest mark on a lesion."""
    own = [mark for mark in image.shown if lesion.number in mark.lesions]
    return max(own, key=lambda mark: mark.detection, default=None)


def images_of(records: Sequence[StudyRecord]) -> Iterator[tuple[int, ImageRecord]]:
    """Yield every image with the number of its study, counted from 0."""
    for unit, record in enumerate(records):
        for image in record.images:
            yield unit, image


def clusters(records: Sequence[StudyRecord], *, d_prime: float = VISIBILITIES[0]) -> FreeResponse:
    """Return marks on clusters as a free-response experiment."""
    seen = lesions_of(records, d_prime=d_prime)
    false = [
        (mark.detection, unit)
        for unit, image in images_of(records)
        for mark in image.shown
        if mark.verdict is Verdict.FALSE
    ]
    return free_response([(each.detection, each.unit) for each in seen], false, _images(records))


def specks(records: Sequence[StudyRecord], *, d_prime: float = VISIBILITIES[0]) -> FreeResponse:
    """Return points on single calcifications as a free-response experiment."""
    asked = [
        (score or -math.inf, unit)
        for unit, image in images_of(records)
        for visibility, score in image.specks
        if visibility >= d_prime
    ]
    false = [(score, unit) for unit, image in images_of(records) for score in image.false_specks]
    return free_response(asked, false, _images(records))


def _images(records: Sequence[StudyRecord]) -> list[int]:
    """Return how many images each study has."""
    return [len(record.images) for record in records]


def figures_of(studies: Sequence[StudyRecord], plan: ReaderPlan) -> Figures:
    """Return the figures of a measurement; the same records give the same figures in whatever order they come."""
    ordered = sorted(studies, key=lambda record: record.study)
    records = [record for record in ordered if record.images]
    rng = np.random.default_rng(0)
    images = [image for _, image in images_of(records)]
    seen = lesions_of(records)
    threshold = plan.detection_score
    found = [each for each in seen if each.detection >= threshold]
    easy = [each.lesion for each in seen if each.lesion.easy]
    withheld = [image for image in images if image.reason is not None]
    half = sensitivity_threshold(records, 0.5)
    return Figures(
        studies=len(records),
        images=len(images),
        not_drawn=len(studies) - len(records),
        withheld=_withheld(withheld, threshold),
        reasons=dict(Counter(_without_numbers(image.reason or "") for image in withheld).most_common()),
        operating_point=plan.operating_point,
        reached={name: _reached(records, score) for name, score in plan.operating_points.items()},
        normal_breasts=len(normal_breasts(records)),
        easy=len(easy),
        easy_outlined=wilson(
            sum(lesion.outlined is not None and lesion.outlined >= threshold for lesion in easy), len(easy)
        ),
        asked=tuple(_asked(records, d_prime, rng) for d_prime in VISIBILITIES),
        afroc_area=alternative_area(
            [each.detection for each in seen],
            [
                max((m.detection for m in image.shown if m.verdict is Verdict.FALSE), default=-math.inf)
                for image in images
                if not image.lesions
            ],
        ),
        grading=_grading(records, found, rng),
        tables=tables_of([(e.image, e.lesion, e.detection) for e in seen], images, threshold, half),
        morphology=_confusion((e.lesion.morphology, e.mark.morphology if e.mark else None) for e in found),
        distribution=_confusion(
            (e.lesion.distribution, e.mark.distribution if e.mark else None) for e in found
        ),
        large=_large(images),
        false_large=sum(len(image.false_large) for image in images) / max(len(images), 1),
        false_near=dict(
            Counter(
                mark.near or "nothing known"
                for image in images
                for mark in image.shown
                if mark.verdict is Verdict.FALSE and mark.detection >= threshold
            ).most_common()
        ),
        pairs=sum(record.pairs for record in records),
        right_pairs=sum(record.right_pairs for record in records),
        seconds_per_study=float(np.median([record.seconds for record in records])) if records else math.nan,
    )


def sensitivity_threshold(records: Sequence[StudyRecord], rate: float) -> float:
    """Return the detection score above which at most so many false marks lie on an image, over all images."""
    data = clusters(records)
    return float(thresholds_at(data, [rate], np.ones(len(data.images), dtype=np.int64))[0])


def normal_breasts(records: Sequence[StudyRecord]) -> list[list[ImageRecord]]:
    """Return the images of every breast that holds neither a lesion nor a large calcification."""
    breasts = [
        [image for image in record.images if image.laterality is breast.laterality]
        for record in records
        for breast in record.breasts
    ]
    return [breast for breast in breasts if not any(image.lesions or image.large for image in breast)]


def _reached(records: Sequence[StudyRecord], threshold: float) -> Reached:
    """Return what an operating point reaches."""
    seen = lesions_of(records)
    images = [image for _, image in images_of(records)]
    verdicts = Counter(
        mark.verdict for image in images for mark in image.shown if mark.detection >= threshold
    )
    normal = normal_breasts(records)
    unmarked = [
        all(
            image.reason is None
            and not image.false_large
            and all(mark.detection < threshold for mark in image.shown)
            for image in breast
        )
        for breast in normal
    ]
    return Reached(
        threshold=threshold,
        sensitivity=wilson(sum(each.detection >= threshold for each in seen), len(seen)),
        false_marks=verdicts[Verdict.FALSE] / max(len(images), 1),
        others=verdicts[Verdict.NEITHER] / max(len(images), 1),
        unmarked=wilson(sum(unmarked), len(normal)),
    )


def _withheld(images: Sequence[ImageRecord], threshold: float) -> Withheld:
    """Return what lies on withheld images, and what would have been marked there."""
    lesions = [
        any(lesion.number in mark.lesions and mark.detection >= threshold for mark in image.marks)
        for image in images
        for lesion in image.lesions
        if lesion.visibility >= VISIBILITIES[0]
    ]
    marks = [mark for image in images for mark in image.marks if mark.detection >= threshold]
    return Withheld(
        images=len(images),
        lesions=len(lesions),
        found=sum(lesions),
        false_marks=sum(mark.verdict is Verdict.FALSE for mark in marks),
    )


def _asked(records: Sequence[StudyRecord], d_prime: float, rng: Generator) -> Asked:
    """Return the sensitivities for what is at least so visible."""
    lesions, points = clusters(records, d_prime=d_prime), specks(records, d_prime=d_prime)
    return Asked(
        d_prime=d_prime,
        lesions=len(lesions.lesion_scores),
        lesions_at=_named(CLUSTER_RATES, sensitivity_at(lesions, CLUSTER_RATES, rng)),
        specks=len(points.lesion_scores),
        specks_at=_named(SPECK_RATES, sensitivity_at(points, SPECK_RATES, rng)),
    )


def _named(rates: Sequence[float], intervals: Sequence[Interval]) -> dict[str, Interval]:
    return {f"{rate:g}": interval for rate, interval in zip(rates, intervals, strict=True)}


def _grading(records: Sequence[StudyRecord], found: Sequence[Seen], rng: Generator) -> Grading:
    """Return how well suspicion and detection say what is true."""
    graded = [(each.mark.suspicion, each.lesion.suspicious, each.unit) for each in found if each.mark]
    breasts = [
        (breast.suspicion, breast.suspicious, unit)
        for unit, record in enumerate(records)
        for breast in record.breasts
        if breast.suspicion is not None
    ]
    judged = [
        (mark.detection, mark.verdict is Verdict.LESION, unit)
        for unit, image in images_of(records)
        for mark in image.shown
        if mark.verdict is not Verdict.NEITHER
    ]
    said, true, units = columns(graded)
    return Grading(
        suspicious=int(true.sum()),
        benign=int((~true).sum()),
        area=bootstrapped_area(said, true, units, rng),
        suspicious_breasts=sum(true for _, true, _ in breasts),
        other_breasts=sum(not true for _, true, _ in breasts),
        breast_area=bootstrapped_area(*columns(breasts), rng),
        suspicion=calibration_of(said, true, units, rng),
        detection=calibration_of(*columns(judged), rng),
    )


def columns(
    rows: Sequence[tuple[float, bool, int]],
) -> tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[np.int64]]:
    """Return statements, whether they are true, and the studies that they belong to, each as an array."""
    return (
        np.array([said for said, _, _ in rows], dtype=np.float64),
        np.array([true for _, true, _ in rows], dtype=np.bool_),
        np.array([unit for _, _, unit in rows], dtype=np.int64),
    )


def _confusion(pairs: Iterable[tuple[str | None, str | None]]) -> dict[str, dict[str, int]]:
    """Return how often each truth (None: "none") was called what."""
    table: dict[str, dict[str, int]] = {}
    for true, called in sorted((str(true or "none"), str(called or NOT_STATED)) for true, called in pairs):
        row = table.setdefault(true, {})
        row[called] = row.get(called, 0) + 1
    return table


def _large(images: Iterable[ImageRecord]) -> dict[str, tuple[int, int, int]]:
    """Return asked, marked and rightly called large calcifications by kind."""
    table: dict[Morphology, tuple[int, int, int]] = {}
    for large in (large for image in images for large in image.large):
        asked, marked, called = table.get(large.kind, (0, 0, 0))
        table[large.kind] = (asked + 1, marked + large.marked, called + (large.called is large.kind))
    return {str(kind): table[kind] for kind in sorted(table)}


def _without_numbers(reason: str) -> str:
    """Return a reason without its numbers, so that equal reasons can be counted."""
    return re.sub(r"\d[\d.,]*(e[-+]\d+)?", "n", reason)
