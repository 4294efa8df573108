"""Free-response curves: how many lesions are marked where so many false marks are made on an image.

FROC (Bunch et al. 1978) and the alternative curve's area, AFROC (Chakraborty and Winter 1990). A mark counts where
its score lies above a threshold; a lesion's score is that of the best mark on it, minus infinity without one.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from lab.evaluation.bootstrap import intervals
from lab.evaluation.roc import area_under_curve
from lab.evaluation.statistics import Interval, wilson


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FreeResponse:
    """Marks beside the truth. `units`: to which unit, counted from 0, a lesion or a false mark belongs.

    `images`: [units], how many images each unit has. Lesions come in the order of rising scores, false marks in
    that of falling ones: `free_response` makes it so.
    """

    lesion_scores: NDArray[np.float64]
    lesion_units: NDArray[np.int64]
    false_scores: NDArray[np.float64]
    false_units: NDArray[np.int64]
    images: NDArray[np.int64]


def free_response(
    lesions: Sequence[tuple[float, int]], false: Sequence[tuple[float, int]], images: Sequence[int]
) -> FreeResponse:
    """Return an experiment from (score, unit) of lesions and of false marks, and the images of each unit."""
    rising, falling = sorted(lesions), sorted(false, reverse=True)
    return FreeResponse(
        lesion_scores=np.array([score for score, _ in rising], dtype=np.float64),
        lesion_units=np.array([unit for _, unit in rising], dtype=np.int64),
        false_scores=np.array([score for score, _ in falling], dtype=np.float64),
        false_units=np.array([unit for _, unit in falling], dtype=np.int64),
        images=np.array(images, dtype=np.int64),
    )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Curve:
    """A curve with its band; all arrays have one length."""

    false_marks_per_image: NDArray[np.float64]
    sensitivity: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]


def thresholds_at(
    data: FreeResponse, rates: Sequence[float], draws: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return, per rate, the lowest score above which at most that many false marks lie on an image.

    `draws`: [units], how often each unit counts.
    """
    allowed = np.asarray(rates) * float(data.images @ draws)
    first_over = np.searchsorted(np.cumsum(draws[data.false_units]), allowed + 1e-9, side="right")
    thresholds = np.full(len(rates), -np.inf)
    reached = first_over < len(data.false_scores)
    thresholds[reached] = data.false_scores[first_over[reached]]
    return thresholds


def sensitivities(
    data: FreeResponse, rates: Sequence[float], draws: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return the share of lesions marked at each rate of false marks per image; NaN without a lesion."""
    counted = np.cumsum(draws[data.lesion_units])
    if not len(counted) or not counted[-1]:
        return np.full(len(rates), np.nan)
    below = np.searchsorted(data.lesion_scores, thresholds_at(data, rates, draws), side="right")
    missed = np.where(below > 0, counted[below - 1], 0)
    return np.asarray((counted[-1] - missed) / counted[-1], dtype=np.float64)


def sensitivity_at(data: FreeResponse, rates: Sequence[float], rng: Generator) -> list[Interval]:
    """Return the sensitivity at each rate of false marks per image, with its interval over units.

    Where all lesions are found, or none, every resample finds the same: the interval is Wilson's there.
    """
    count = len(data.lesion_scores)
    return [
        wilson(round(share.value * count), count) if share.value in (0.0, 1.0) else share
        for share in intervals(lambda draws: sensitivities(data, rates, draws), len(data.images), rng)
    ]


def curve(data: FreeResponse, rates: Sequence[float], rng: Generator) -> Curve:
    """Return the FROC curve at some rates, with its pointwise 95 % band."""
    at = sensitivity_at(data, rates, rng)
    return Curve(
        false_marks_per_image=np.asarray(rates, dtype=np.float64),
        sensitivity=np.array([point.value for point in at]),
        low=np.array([point.low for point in at]),
        high=np.array([point.high for point in at]),
    )


def alternative_area(lesion_scores: Sequence[float], highest_false: Sequence[float]) -> float:
    """Return the area under the AFROC curve: how often a lesion's mark outscores an image's worst false one.

    `highest_false`: the highest false score of every image without a lesion, minus infinity without a mark.
    """
    if not lesion_scores or not highest_false:
        return math.nan
    return area_under_curve(lesion_scores, highest_false)
