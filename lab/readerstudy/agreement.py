"""How far readers agree beyond chance."""

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from lab.evaluation.statistics import Interval

Weights = Literal["linear", "quadratic"]
"""How a disagreement counts: by its distance on the scale, or by the square of it."""


def kappa(
    first: Sequence[float] | NDArray[np.generic],
    second: Sequence[float] | NDArray[np.generic],
    weights: Weights | None = None,
) -> Interval:
    """Return Cohen's kappa of two readers with its 95 % interval (Fleiss, Cohen and Everitt 1969).

    `first`, `second`: [cases], what each reader called every case. Weighted kappas (Cohen 1968) take the distinct
    values, in rising order, as steps of one scale: weights make sense for categories that have an order. NaN with
    the interval -1 to 1 where both call everything the same, for then chance explains all.

    Raises:
        ValueError: if the readers did not read the same number of cases.
    """
    from statsmodels.stats.inter_rater import cohens_kappa

    if len(first) != len(second):
        raise ValueError(f"One reader called {len(first)} cases, the other {len(second)}: pair them first.")
    values = np.unique(np.concatenate([np.asarray(first), np.asarray(second)]))
    if len(values) < 2:
        return Interval(math.nan, -1.0, 1.0)
    table = np.zeros((len(values), len(values)))
    np.add.at(table, (np.searchsorted(values, first), np.searchsorted(values, second)), 1)
    with np.errstate(invalid="ignore"):
        result = cohens_kappa(table, wt=weights)
    low, high = max(float(result.kappa_low), -1.0), min(float(result.kappa_upp), 1.0)
    return Interval(float(result.kappa), low, high)
