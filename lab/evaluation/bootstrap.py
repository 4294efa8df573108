"""The bootstrap over whole units (patients, studies): what is found in one unit is drawn together."""

from collections.abc import Callable

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from lab.evaluation.statistics import Interval

REPETITIONS = 2000
LEVEL = (0.025, 0.975)
"""Quantiles of the replicates that bound a 95 % interval (percentile method, Efron 1979)."""

Statistic = Callable[[NDArray[np.int64]], NDArray[np.float64]]
"""From how often each unit was drawn [units] to values [values], NaN where a draw leaves one undefined."""


def intervals(statistic: Statistic, units: int, rng: Generator) -> list[Interval]:
    """Return every value of a statistic with its 95 % interval over resamples of whole units.

    One unit alone says nothing of others: its interval is 0 to 1.
    """
    whole = statistic(np.ones(units, dtype=np.int64))
    if units < 2:
        return [Interval(float(value), 0.0, 1.0) for value in whole]
    draws = rng.multinomial(units, np.full(units, 1 / units), size=REPETITIONS)
    replicates = np.array([statistic(draw) for draw in draws])
    return [_interval(float(value), replicates[:, number]) for number, value in enumerate(whole)]


def _interval(value: float, replicates: NDArray[np.float64]) -> Interval:
    """Return a value with the quantiles of those replicates that are defined."""
    defined = replicates[~np.isnan(replicates)]
    if not len(defined):
        return Interval(value, 0.0, 1.0)
    return Interval(value, *(float(bound) for bound in np.quantile(defined, LEVEL)))
