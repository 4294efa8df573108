"""The few statistics that a measurement of a reader is told in."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from scipy.stats import rankdata

NORMAL_975 = 1.959963984540054


class Interval(NamedTuple):
    """A value and its 95 % interval."""

    value: float
    low: float
    high: float


def wilson(successes: int, trials: int) -> Interval:
    """Return a proportion with its 95 % score interval (Wilson 1927); of no trials, nothing is known."""
    if trials == 0:
        return Interval(math.nan, 0.0, 1.0)
    share, square = successes / trials, NORMAL_975**2
    middle = (share + square / (2 * trials)) / (1 + square / trials)
    half = (
        NORMAL_975
        * math.sqrt(share * (1 - share) / trials + square / (4 * trials**2))
        / (1 + square / trials)
    )
    return Interval(share, max(middle - half, 0.0), min(middle + half, 1.0))


def area_under_curve(positive: Sequence[float], negative: Sequence[float]) -> float:
    """Return the share of pairs in which the positive scores higher, ties counting half (Mann and Whitney)."""
    if not positive or not negative:
        return math.nan
    ranks = rankdata([*positive, *negative])
    wins = ranks[: len(positive)].sum() - len(positive) * (len(positive) + 1) / 2
    return float(wins / (len(positive) * len(negative)))


def bootstrapped_area(
    scores: NDArray[np.float64], positive: NDArray[np.bool_], units: NDArray[np.int64], rng: Generator
) -> Interval:
    """Return the area under the curve with its 95 % percentile interval over 2000 resamples of whole units.

    `units`: which study a score belongs to; findings of one study are drawn together.
    """
    areas = []
    numbers = np.unique(units)
    members = {number: np.flatnonzero(units == number) for number in numbers}
    for _ in range(2000):
        drawn = np.concatenate([members[number] for number in rng.choice(numbers, len(numbers))])
        area = area_under_curve(list(scores[drawn][positive[drawn]]), list(scores[drawn][~positive[drawn]]))
        if not math.isnan(area):
            areas.append(area)
    whole = area_under_curve(list(scores[positive]), list(scores[~positive]))
    if not areas:
        return Interval(whole, 0.0, 1.0)
    return Interval(whole, *(float(bound) for bound in np.quantile(areas, (0.025, 0.975))))


def threshold_at(false_scores: Sequence[float], allowed: int) -> float:
    """Return the lowest threshold that at most `allowed` false marks exceed; a mark counts above it."""
    ordered = sorted(false_scores, reverse=True)
    return ordered[allowed] if allowed < len(ordered) else -math.inf
