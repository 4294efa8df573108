"""Two ways to read the same cases compared: McNemar's test, the paired difference, non-inferiority, Holm."""

import math
from collections.abc import Sequence

from scipy.optimize import brentq

from lab.evaluation.statistics import Interval
from lab.readerstudy.proportions import Z95


def mcnemar(only_first: int, only_second: int) -> float:
    """Return the exact two-sided P of McNemar (1947) that neither way is right more often.

    `only_first`, `only_second`: cases that one way got right and the other wrong. Without any, P is 1.
    """
    from statsmodels.stats.contingency_tables import mcnemar as test

    if not only_first + only_second:
        return 1.0
    return float(test([[0, only_first], [only_second, 0]], exact=True).pvalue)


def difference(both: int, only_first: int, only_second: int, neither: int) -> Interval:
    """Return how much more often the first way is right than the second, with the 95 % score interval.

    The interval is Tango's (1998), which keeps its level where few cases, or none, tell the ways apart. Between
    -1 and 1; NaN with the interval -1 to 1 of no cases.
    """
    cases = both + only_first + only_second + neither
    if not cases:
        return Interval(math.nan, -1.0, 1.0)
    value = (only_first - only_second) / cases

    def beyond(bound: float) -> float:
        return _score(only_first, only_second, cases, bound)

    low = -1.0 if beyond(-1.0) < Z95 else brentq(lambda bound: beyond(bound) - Z95, -1.0, value, xtol=1e-12)
    high = 1.0 if beyond(1.0) > -Z95 else brentq(lambda bound: beyond(bound) + Z95, value, 1.0, xtol=1e-12)
    return Interval(value, float(low), float(high))


def _score(only_first: int, only_second: int, cases: int, supposed: float) -> float:
    """Return by how many standard errors the observed difference lies above a supposed one (Tango 1998)."""
    above = only_first - only_second - cases * supposed
    linear = (2 * cases - only_first + only_second) * supposed - only_first - only_second
    constant = -only_second * supposed * (1 - supposed)
    most_likely = (math.sqrt(max(linear**2 - 8 * cases * constant, 0.0)) - linear) / (4 * cases)
    variance = cases * (2 * most_likely + supposed * (1 - supposed))
    if variance <= 1e-12:
        return math.copysign(math.inf, above) if abs(above) > 1e-9 else 0.0
    return above / math.sqrt(variance)


def non_inferior(estimate: float, interval: tuple[float, float], margin: float) -> bool:
    """Tell whether a new way is worse than the old one by less than a margin that was fixed beforehand.

    `estimate`, `interval`: the new way's figure less the old one's, such as a sensitivity's or an area's, and its
    two-sided 95 % interval; the test is one-sided at 2.5 %. For figures that are better when lower, such as miss
    rates, give old less new. `margin`: above 0.

    Raises:
        ValueError: if the margin is not above 0 or the estimate lies outside its interval.
    """
    low, high = interval
    if not margin > 0:
        raise ValueError(f"A margin of {margin} lets nothing be non-inferior: give one above 0.")
    if not low <= estimate <= high:
        raise ValueError(f"The difference {estimate} does not lie in its interval {low} to {high}.")
    return low > -margin


def holm(p_values: Sequence[float]) -> list[float]:
    """Return the P values of tests made together, adjusted by Holm (1979), in their order."""
    from statsmodels.stats.multitest import multipletests

    if not p_values:
        return []
    return [float(value) for value in multipletests(p_values, method="holm")[1]]
