"""The ROC curve of two kinds told apart by a score, and the area under it."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from scipy.stats import rankdata

from lab.evaluation.bootstrap import intervals
from lab.evaluation.statistics import Interval


def area_under_curve(positive: Sequence[float], negative: Sequence[float]) -> float:
    """Return the share of pairs in which the positive scores higher, ties counting half (Mann and Whitney)."""
    if not len(positive) or not len(negative):
        return math.nan
    ranks = rankdata(np.concatenate([positive, negative]))
    wins = ranks[: len(positive)].sum() - len(positive) * (len(positive) + 1) / 2
    return float(wins / (len(positive) * len(negative)))


def bootstrapped_area(
    scores: NDArray[np.float64], positive: NDArray[np.bool_], units: NDArray[np.int64], rng: Generator
) -> Interval:
    """Return the area under the curve with its 95 % interval over resamples of whole units.

    `units`: which unit, such as a study, a score belongs to.
    """
    numbers, places = np.unique(units, return_inverse=True)

    def area(draws: NDArray[np.int64]) -> NDArray[np.float64]:
        times = draws[places]
        drawn = np.repeat(scores, times), np.repeat(positive, times)
        return np.array([area_under_curve(drawn[0][drawn[1]].tolist(), drawn[0][~drawn[1]].tolist())])

    (interval,) = intervals(area, len(numbers), rng)
    return interval


def roc_curve(
    scores: NDArray[np.float64], positive: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return false positive and true positive shares from (0, 0) to (1, 1), one point for every distinct score."""
    order = np.argsort(-scores, kind="stable")
    last_of_score = (
        np.append(np.diff(scores[order]) != 0, True) if len(scores) else np.zeros(0, dtype=np.bool_)
    )
    true = np.append(0, np.cumsum(positive[order])[last_of_score])
    false = np.append(0, np.cumsum(~positive[order])[last_of_score])
    return false / max(false[-1], 1), true / max(true[-1], 1)
