"""Whether a number that reads like a probability comes true as often as it says."""

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from lab.evaluation.bootstrap import intervals
from lab.evaluation.statistics import Interval, wilson

BINS = 10
"""Groups of equal size in which what was said is set beside what came true."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bin:
    """One group of statements: the mean of what was said, and the share that came true."""

    said: float
    true: Interval
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """How well statements are calibrated; intervals are 95 % over units.

    `expected_error`: mean distance of said and true over the groups (ECE, Naeini et al. 2015). `brier`: mean
    squared distance of statement and outcome (Brier 1950).
    """

    count: int
    expected_error: Interval
    brier: Interval
    bins: tuple[Bin, ...]


def calibration_of(
    said: NDArray[np.float64], true: NDArray[np.bool_], units: NDArray[np.int64], rng: Generator
) -> Calibration:
    """Return how often statements of 0 to 1 came true."""
    numbers, places = np.unique(units, return_inverse=True)

    def measures(draws: NDArray[np.int64]) -> NDArray[np.float64]:
        times = draws[places]
        drawn = np.repeat(said, times), np.repeat(true, times)
        return np.array([expected_error(*drawn), brier_score(*drawn)])

    error, brier = intervals(measures, len(numbers), rng)
    bins = [
        Bin(said=float(said[group].mean()), true=wilson(int(true[group].sum()), len(group)), count=len(group))
        for group in equal_groups(said)
    ]
    return Calibration(count=len(said), expected_error=error, brier=brier, bins=tuple(bins))


def equal_groups(said: NDArray[np.float64]) -> list[NDArray[np.intp]]:
    """Return the indices of up to BINS groups of equal size, in the order of what was said."""
    order = np.argsort(said, kind="stable")
    return [group for group in np.array_split(order, BINS) if len(group)]


def expected_error(said: NDArray[np.float64], true: NDArray[np.bool_]) -> float:
    """Return the expected calibration error over groups of equal size; NaN of nothing."""
    if not len(said):
        return float("nan")
    gaps = [len(group) * abs(said[group].mean() - true[group].mean()) for group in equal_groups(said)]
    return float(sum(gaps) / len(said))


def brier_score(said: NDArray[np.float64], true: NDArray[np.bool_]) -> float:
    """Return the mean squared distance of statement and outcome; NaN of nothing."""
    return float(((said - true) ** 2).mean()) if len(said) else float("nan")
