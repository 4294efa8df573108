"""Proportions with their intervals, and the threshold that a number of false marks leaves."""

import math
from collections.abc import Sequence
from typing import NamedTuple

from scipy.stats import binomtest


class Interval(NamedTuple):
    """A value and its 95 % interval."""

    value: float
    low: float
    high: float


def wilson(successes: int, trials: int) -> Interval:
    """Return a proportion with its 95 % score interval (Wilson 1927); of no trials, nothing is known."""
    if trials == 0:
        return Interval(math.nan, 0.0, 1.0)
    bounds = binomtest(int(successes), int(trials)).proportion_ci(0.95, method="wilson")
    return Interval(successes / trials, float(bounds.low), float(bounds.high))


def threshold_at(false_scores: Sequence[float], allowed: int) -> float:
    """Return the lowest threshold that at most `allowed` false marks exceed; a mark counts above it."""
    ordered = sorted(false_scores, reverse=True)
    return ordered[allowed] if allowed < len(ordered) else -math.inf
