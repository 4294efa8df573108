"""Sensitivity, specificity, predictive values and miss rate, each with two 95 % intervals."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit
from scipy.stats import binomtest, norm

from lab.evaluation.statistics import Interval, wilson

Z95 = float(norm.ppf(0.975))
"""How many standard errors a 95 % interval reaches either way."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Proportion:
    """A share of `total`, 0 to 1, with its 95 % intervals by Wilson (1927) and by Clopper and Pearson (1934).

    Of none at all nothing is known: the value is NaN, both intervals are 0 to 1.
    """

    successes: int
    total: int
    value: float
    wilson: tuple[float, float]
    clopper_pearson: tuple[float, float]


def proportion(successes: int, total: int) -> Proportion:
    """Return a share with its score interval and its exact one.

    Raises:
        ValueError: if there are more successes than there could be, or fewer than none.
    """
    if not 0 <= successes <= total:
        raise ValueError(f"{successes} of {total} is no proportion: count between none and all of them.")
    score = wilson(successes, total)
    exact = (0.0, 1.0)
    if total:
        bounds = binomtest(int(successes), int(total)).proportion_ci(0.95, method="exact")
        exact = float(bounds.low), float(bounds.high)
    return Proportion(
        successes=int(successes),
        total=int(total),
        value=score.value,
        wilson=(score.low, score.high),
        clopper_pearson=exact,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Accuracy:
    """What calls are worth beside the truth; predictive values hold at the prevalence of these very cases."""

    sensitivity: Proportion
    specificity: Proportion
    positive_predictive_value: Proportion
    negative_predictive_value: Proportion
    miss_rate: Proportion


def accuracy(called: NDArray[np.bool_], diseased: NDArray[np.bool_]) -> Accuracy:
    """Return what calls are worth. `called`, `diseased`: [cases], one call and one truth for each."""
    hits, misses = int(np.sum(called & diseased)), int(np.sum(~called & diseased))
    alarms, rejections = int(np.sum(called & ~diseased)), int(np.sum(~called & ~diseased))
    return Accuracy(
        sensitivity=proportion(hits, hits + misses),
        specificity=proportion(rejections, rejections + alarms),
        positive_predictive_value=proportion(hits, hits + alarms),
        negative_predictive_value=proportion(rejections, rejections + misses),
        miss_rate=proportion(misses, hits + misses),
    )


def predictive_values(
    sensitivity: Proportion, specificity: Proportion, prevalence: float
) -> tuple[Interval, Interval]:
    """Return positive and negative predictive value at another prevalence, with their 95 % intervals.

    By Bayes' rule; the intervals are of the logits, by the delta method (Mercaldo, Lau and Zhou 2007). Where
    sensitivity or specificity is 0 or 1, half a case is added to each side, as they advise. `prevalence`: between
    0 and 1, both excluded.
    """
    if not 0 < prevalence < 1:
        raise ValueError(f"A prevalence of {prevalence} leaves nothing to predict: give one between 0 and 1.")
    if not sensitivity.total or not specificity.total:
        return Interval(math.nan, 0.0, 1.0), Interval(math.nan, 0.0, 1.0)
    true, true_cases = _inside(sensitivity)
    right, right_cases = _inside(specificity)
    odds = float(logit(prevalence))
    positive = odds + math.log(true / (1 - right))
    negative = -odds + math.log(right / (1 - true))
    spread_positive = (1 - true) / (true * true_cases) + right / ((1 - right) * right_cases)
    spread_negative = true / ((1 - true) * true_cases) + (1 - right) / (right * right_cases)
    return _from_logit(positive, spread_positive), _from_logit(negative, spread_negative)


def _inside(share: Proportion) -> tuple[float, float]:
    """Return a share strictly between 0 and 1, and of how many cases it is."""
    if 0 < share.successes < share.total:
        return share.value, share.total
    return (share.successes + 0.5) / (share.total + 1), share.total + 1


def _from_logit(value: float, variance: float) -> Interval:
    """Return a value known by its logit, with the interval that the logit's variance leaves."""
    reach = Z95 * math.sqrt(variance)
    return Interval(*(float(expit(point)) for point in (value, value - reach, value + reach)))
