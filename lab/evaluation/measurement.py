"""What a reader finds on synthetic studies whose truth is known, image by image, and the figures of it all."""

import math
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from lab.evaluation.matching import Verdict, groups_asked_for, judge, match, stored_places
from lab.evaluation.statistics import Interval, bootstrapped_area, threshold_at, wilson
from lab.phantom.dicom import to_dicom
from lab.phantom.study import make_study
from lab.phantom.truth import Scene, TruthGroup
from mammography.coordinates import inside
from mammography.finding import ImageReading, ReadStatus
from mammography.mammogram import open_mammogram
from mammography.reader.reader import Reader

DETECTOR_MM = (232.96, 179.2)
"""Height and width of the detector: 3328 by 2560 pixels of 0.07 mm."""
LOWEST_SCORE = 0.05
"""Marks on single specks are collected from here on; the reader itself starts higher."""
SPECK_FALSE_MARKS = (1.0, 2.0, 5.0, 10.0)
CLUSTER_FALSE_MARKS = (0.25, 0.5, 1.0)
INSIDE_SHARE = 0.5
"""An easy lesion is marked when one outline holds at least this share of its specks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LesionResult:
    """One lesion that should be marked on one image. `detection`: the best mark on it, -inf without any."""

    morphology: str
    easy: bool
    suspicious: bool
    detection: float
    suspicion: float
    inside_a_mark: bool
    """Whether one outline that the reader reported holds it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageResult:
    """What a reader found on one image."""

    study: int
    seconds: float
    points: int
    withheld: bool
    lesions: tuple[LesionResult, ...]
    false_marks: tuple[float, ...]
    """Detection scores of the clusters that are none."""
    false_specks: tuple[float, ...]
    specks: tuple[tuple[float, float], ...]
    """d' and best score of every visible speck."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """The figures of a measurement. Rates are per image; intervals are 95 %."""

    images: int
    studies: int
    withheld: int
    lesions: int
    operating_point: str
    sensitivity: Interval
    false_marks_per_image: float
    easy: int
    easy_found: Interval
    sensitivity_at: dict[str, Interval]
    sensitivity_by_morphology: dict[str, tuple[int, int]]
    """Found and asked at the operating point."""
    specks: int
    speck_sensitivity_at: dict[str, float]
    suspicious: int
    benign: int
    suspicion_area: Interval
    seconds_per_image: float
    notes: tuple[str, ...] = field(default=())


def measure(
    seeds: Iterable[int], reader: Reader, *, easy: bool = False, spacing_mm: float = 0.07
) -> Iterator[ImageResult]:
    """Return what a reader finds on studies; every image goes through a DICOM file, as it would arrive."""
    rows, columns = (round(side / spacing_mm) for side in DETECTOR_MM)
    with TemporaryDirectory() as folder:
        for seed in seeds:
            for scene in make_study(seed, easy=easy, rows=rows, columns=columns, spacing_mm=spacing_mm):
                path = Path(folder) / "image.dcm"
                to_dicom(scene, seed=seed).save_as(path, enforce_file_format=True)
                yield measure_image(scene, path, reader, study=seed)


def measure_image(scene: Scene, path: Path, reader: Reader, *, study: int) -> ImageResult:
    """Return what a reader finds on the image in a file, beside the scene that it shows."""
    began = time.monotonic()
    mammogram = open_mammogram(path)
    prepared = reader.prepared(mammogram)
    marks = reader.points(prepared, lowest_score=LOWEST_SCORE)
    points = marks.chosen(marks.scores >= reader.plan.point_score)
    reading = reader.reading_of(mammogram, prepared, points)
    seconds = time.monotonic() - began
    single = match(scene, marks, stored_places(marks, prepared.grid))
    matching = match(scene, points, stored_places(points, prepared.grid))
    best: dict[int, tuple[float, float]] = {}
    false_marks = []
    for candidate in reader.candidates(points, prepared):
        verdict, lesions = judge(matching, candidate.indices)
        if verdict is Verdict.FALSE:
            false_marks.append(candidate.detection)
        for lesion in lesions:
            best[lesion] = max(
                best.get(lesion, (-math.inf, math.nan)), (candidate.detection, candidate.suspicion)
            )
    return ImageResult(
        study=study,
        seconds=seconds,
        points=len(points),
        withheld=reading.status is ReadStatus.NOT_READ,
        lesions=tuple(_lesion(scene, group, best, reading) for group in groups_asked_for(scene)),
        false_marks=tuple(false_marks),
        false_specks=tuple(marks.scores[~single.hit & ~single.forgiven].tolist()),
        specks=tuple(zip(single.asked_d_prime.tolist(), single.best.tolist(), strict=True)),
    )


def figures_of(results: Sequence[ImageResult], reader: Reader, *, seed: int) -> Figures:
    """Return the figures of a measurement; `seed` is that of the bootstrap."""
    lesions = [lesion for image in results for lesion in image.lesions]
    false_marks = [score for image in results for score in image.false_marks]
    threshold = reader.plan.detection_score
    found = [lesion.detection >= threshold for lesion in lesions]
    easy = [lesion.inside_a_mark for lesion in lesions if lesion.easy]
    graded = [
        (image.study, lesion)
        for image in results
        for lesion in image.lesions
        if not math.isnan(lesion.suspicion)
    ]
    positive = np.array([lesion.suspicious for _, lesion in graded], dtype=np.bool_)
    return Figures(
        images=len(results),
        studies=len({image.study for image in results}),
        withheld=sum(image.withheld for image in results),
        lesions=len(lesions),
        operating_point=reader.plan.operating_point,
        sensitivity=wilson(sum(found), len(lesions)),
        false_marks_per_image=sum(score >= threshold for score in false_marks) / max(len(results), 1),
        easy=len(easy),
        easy_found=wilson(sum(easy), len(easy)),
        sensitivity_at={
            f"{rate:g}": _sensitivity(lesions, false_marks, int(rate * len(results)))
            for rate in CLUSTER_FALSE_MARKS
        },
        sensitivity_by_morphology=_by_morphology(lesions, found),
        specks=sum(len(image.specks) for image in results),
        speck_sensitivity_at=_speck_sensitivity(results),
        suspicious=int(positive.sum()),
        benign=int((~positive).sum()),
        suspicion_area=bootstrapped_area(
            np.array([lesion.suspicion for _, lesion in graded]),
            positive,
            np.array([study for study, _ in graded], dtype=np.int64),
            np.random.default_rng(seed),
        ),
        seconds_per_image=float(np.median([image.seconds for image in results])) if results else math.nan,
    )


def told(figures: Figures, command: str) -> str:
    """Return the figures as the text of a card, with the command that measures them again."""
    at = [
        f"| lesions found at {rate} false marks per image | {_interval(share)} |"
        for rate, share in figures.sensitivity_at.items()
    ]
    specks = ", ".join(f"{share:.2f} at {rate}" for rate, share in figures.speck_sensitivity_at.items())
    morphologies = ", ".join(
        f"{name} {found}/{asked}" for name, (found, asked) in figures.sensitivity_by_morphology.items()
    )
    return "\n".join(
        [
            f"`{command}`: {figures.images} synthetic images of {figures.studies} studies from seeds that were",
            f"never learned from, {figures.lesions} lesions with at least three visible specks in 1 cm2,",
            f"{figures.specks} visible specks (d' of 5 or more); intervals are 95 % (Wilson; bootstrap over studies).",
            "",
            "| | |",
            "|---|---|",
            f"| easy lesions inside a reported mark | {_interval(figures.easy_found)}, n = {figures.easy} |",
            (
                f"| lesions found at the operating point ({figures.operating_point}) | "
                f"{_interval(figures.sensitivity)}, {figures.false_marks_per_image:.2f} false marks per image |"
            ),
            *at,
            f"| specks found, by false specks per image | {specks} |",
            (
                f"| suspicious against benign, area under the curve | {_interval(figures.suspicion_area)}, "
                f"{figures.suspicious} against {figures.benign} lesions found |"
            ),
            f"| images withheld as noise | {figures.withheld} of {figures.images} |",
            "",
            f"Found at the operating point, by morphology: {morphologies}.",
        ]
    )


def as_json(figures: Figures) -> dict[str, object]:
    """Return the figures as plain values; intervals become value, low and high."""
    plain: dict[str, object] = asdict(figures)
    for name, value in plain.items():
        if isinstance(value, Interval):
            plain[name] = value._asdict()
    plain["sensitivity_at"] = {rate: share._asdict() for rate, share in figures.sensitivity_at.items()}
    return plain


def _lesion(
    scene: Scene, group: TruthGroup, best: dict[int, tuple[float, float]], reading: ImageReading
) -> LesionResult:
    """Return what became of one lesion."""
    detection, suspicion = best.get(group.number, (-math.inf, math.nan))
    specks = [speck.center for speck in scene.specks if speck.group == group.number]
    shares = [np.mean([inside(speck, finding.outline) for speck in specks]) for finding in reading.findings]
    return LesionResult(
        morphology=group.morphology.value,
        easy=group.easy,
        suspicious=group.suspicious,
        detection=detection,
        suspicion=suspicion,
        inside_a_mark=bool(max(shares, default=0.0) >= INSIDE_SHARE),
    )


def _sensitivity(lesions: Sequence[LesionResult], false_marks: Sequence[float], allowed: int) -> Interval:
    """Return the share of lesions marked where at most `allowed` false marks are made in all."""
    threshold = threshold_at(false_marks, allowed)
    return wilson(sum(lesion.detection > threshold for lesion in lesions), len(lesions))


def _by_morphology(lesions: Sequence[LesionResult], found: Sequence[bool]) -> dict[str, tuple[int, int]]:
    """Return (found, asked) for every morphology."""
    rows: dict[str, tuple[int, int]] = {}
    for lesion, hit in sorted(zip(lesions, found, strict=True), key=lambda pair: pair[0].morphology):
        hits, asked = rows.get(lesion.morphology, (0, 0))
        rows[lesion.morphology] = (hits + hit, asked + 1)
    return rows


def _speck_sensitivity(results: Sequence[ImageResult]) -> dict[str, float]:
    """Return the share of visible specks found at each rate of false specks per image."""
    false_specks = [score for image in results for score in image.false_specks]
    scores = [score for image in results for _, score in image.specks]
    shares = {}
    for rate in SPECK_FALSE_MARKS:
        threshold = max(threshold_at(false_specks, int(rate * len(results))), LOWEST_SCORE - 1e-9)
        shares[f"{rate:g}"] = sum(score > threshold for score in scores) / max(len(scores), 1)
    return shares


def _interval(interval: Interval) -> str:
    """Return a value with its interval: "0.91 [0.83, 0.96]"."""
    if math.isnan(interval.value):
        return "not measured"
    return f"{interval.value:.3f} [{interval.low:.3f}, {interval.high:.3f}]"
