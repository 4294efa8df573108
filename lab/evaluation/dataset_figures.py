"""The figures of a reader on a public data set; intervals are over patients."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lab.datasets.case import DatasetKind, Split
from lab.evaluation.card import said
from lab.evaluation.dataset import DatasetImage
from lab.evaluation.figures import CLUSTER_RATES, SPECK_RATES, columns
from lab.evaluation.froc import free_response, sensitivity_at
from lab.evaluation.roc import bootstrapped_area
from lab.evaluation.statistics import Interval, wilson
from mammography.reader.plan import ReaderPlan


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """Two kinds told apart by a score: how many there are of each, and the area under the ROC curve."""

    positive: int
    negative: int
    area: Interval


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetFigures:
    """The figures of a split. Keys of `lesions_at`, `specks_at`: false marks per clear image.

    `clear`: images on which what nobody marked is no calcification: false marks are counted on them alone.
    `reached`: sensitivity and false marks per clear image of every operating point. `calcified`: images with and
    without calcification by their surest mark. `malignant`: breasts by the highest suspicion reported.
    """

    dataset: DatasetKind
    split: Split
    patients: int
    images: int
    clear: int
    skipped: dict[str, int]
    withheld: dict[str, int]
    lesions: int
    lesions_at: dict[str, Interval]
    reached: dict[str, tuple[Interval, float]]
    specks: int
    specks_at: dict[str, Interval]
    calcified: Pair
    malignant: Pair


def dataset_figures(
    kind: DatasetKind, split: Split, seen: Sequence[DatasetImage | str], plan: ReaderPlan
) -> DatasetFigures:
    """Return the figures of what was found on a split; sentences stand for images that could not be used."""
    images = [image for image in seen if isinstance(image, DatasetImage)]
    units = {patient: unit for unit, patient in enumerate(sorted({image.patient for image in images}))}
    of = [(units[image.patient], image) for image in images]
    clear = [sum(image.clear for unit, image in of if unit == number) for number in units.values()]
    lesions = [
        (-math.inf if lesion.detection is None else lesion.detection, unit)
        for unit, image in of
        for lesion in image.lesions
    ]
    false = [(score, unit) for unit, image in of for score in image.false_marks]
    specks = [(score or -math.inf, unit) for unit, image in of for score in image.specks]
    false_specks = [(score, unit) for unit, image in of for score in image.false_specks]
    rng = np.random.default_rng(0)
    at = sensitivity_at(free_response(lesions, false, clear), CLUSTER_RATES, rng)
    specks_at = sensitivity_at(free_response(specks, false_specks, clear), SPECK_RATES, rng)
    return DatasetFigures(
        dataset=kind,
        split=split,
        patients=len(units),
        images=len(images),
        clear=sum(clear),
        skipped=dict(Counter(sentence for sentence in seen if isinstance(sentence, str)).most_common()),
        withheld=dict(Counter(image.reason for image in images if image.reason).most_common()),
        lesions=len(lesions),
        lesions_at={f"{rate:g}": share for rate, share in zip(CLUSTER_RATES, at, strict=True)},
        reached={
            name: (
                wilson(sum(score >= threshold for score, _ in lesions), len(lesions)),
                sum(score >= threshold for score, _ in false) / sum(clear) if any(clear) else math.nan,
            )
            for name, threshold in plan.operating_points.items()
        },
        specks=len(specks),
        specks_at={f"{rate:g}": share for rate, share in zip(SPECK_RATES, specks_at, strict=True)},
        calcified=_pair(
            [(image.highest, image.calcified, unit) for unit, image in of if image.calcified is not None], rng
        ),
        malignant=_pair(_breasts(of), rng),
    )


def told_of_dataset(figures: DatasetFigures, command: str) -> str:
    """Return the figures as the text of a card, with the command that measures them again."""
    lesions = ", ".join(f"{said(share)} at {rate}" for rate, share in figures.lesions_at.items())
    specks = ", ".join(f"{said(share)} at {rate}" for rate, share in figures.specks_at.items())
    counted = figures.clear > 0
    rows = [
        (f"lesions found at the operating point {name}", _reached(share, false))
        for name, (share, false) in figures.reached.items()
    ]
    if figures.lesions and counted:
        rows.append((f"lesions found (n = {figures.lesions}), by false marks per image", lesions))
    if figures.specks and counted:
        rows.append((f"calcifications found (n = {figures.specks}), by false points per image", specks))
    rows += [
        ("images with calcifications against those without, area under the curve", _area(figures.calcified)),
        (
            "malignant breasts against benign ones by suspicion, area under the curve",
            _area(figures.malignant),
        ),
        ("images withheld", _reasons(figures.withheld)),
        ("images that could not be used", _reasons(figures.skipped)),
    ]
    return "\n".join(
        [
            f"`{command}`: {figures.images} images of {figures.patients} patients, the {figures.split} split of",
            f"{figures.dataset}, {figures.lesions} lesions. Intervals are 95 %: bootstrap over patients, Wilson for",
            f"operating points. False marks are counted on the {figures.clear} images on which all calcifications are",
            "marked.",
            "",
            "| | |",
            "|---|---|",
            *(f"| {name} | {value} |" for name, value in rows),
        ]
    )


def _breasts(of: Sequence[tuple[int, DatasetImage]]) -> list[tuple[float, bool, int]]:
    """Return the highest suspicion of every breast whose pathology is known; it is malignant if any image says so."""
    breasts: dict[tuple[int, str], list[DatasetImage]] = {}
    for unit, image in of:
        if image.malignant is not None:
            breasts.setdefault((unit, str(image.laterality)), []).append(image)
    return [
        (max(image.suspicion for image in images), any(image.malignant for image in images), unit)
        for (unit, _), images in breasts.items()
    ]


def _pair(rows: Sequence[tuple[float, bool | None, int]], rng: np.random.Generator) -> Pair:
    """Return two kinds told apart by a score."""
    scores, positive, units = columns([(score, bool(true), unit) for score, true, unit in rows])
    return Pair(
        positive=int(positive.sum()),
        negative=int((~positive).sum()),
        area=bootstrapped_area(scores, positive, units, rng),
    )


def _reached(share: Interval, false: float) -> str:
    return said(share) if math.isnan(false) else f"{said(share)}, {false:.2f} false marks per image"


def _area(pair: Pair) -> str:
    return f"{said(pair.area)}, {pair.positive} against {pair.negative}"


def _reasons(reasons: dict[str, int]) -> str:
    """Return how many there are, with the commonest reasons."""
    most = "; ".join(f"{count} x {reason}" for reason, count in list(reasons.items())[:3])
    return f"{sum(reasons.values())}: {most}" if most else "0"
