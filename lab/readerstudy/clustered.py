"""Several findings or cases of one patient: intervals that do not take them for independent."""

from collections.abc import Callable
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from lab.evaluation.bootstrap import LEVEL, REPETITIONS
from lab.evaluation.statistics import Interval
from lab.readerstudy.proportions import Z95

Array = NDArray[np.float64]
Statistic = Callable[[NDArray[np.int64]], float]
"""From the numbers of the rows that were drawn to a value, NaN where they leave it undefined."""


def bootstrap(
    statistic: Statistic,
    units: NDArray[np.generic],
    seed: int,
    draws: int = REPETITIONS,
    *,
    strata: NDArray[np.generic] | None = None,
    method: Literal["bca", "percentile"] = "bca",
) -> Interval:
    """Return a statistic with its 95 % interval over resamples of whole units, such as patients.

    `statistic`: of row numbers, each as often as it was drawn; `units`: [rows], whose each row is; `strata`: [rows],
    within which units are drawn, such as patients with and without cancer (a unit lies in one stratum). Bias-corrected
    and accelerated (Efron 1987) over left-out units, or percentiles (Efron 1979). Draws that leave the statistic
    undefined do not count; a statistic that never varies has an interval of no width; one unit alone, 0 to 1.

    Raises:
        ValueError: if a unit lies in two strata.
    """
    rows = np.arange(len(units))
    names, places = np.unique(units, return_inverse=True)
    members = [rows[places.ravel() == unit] for unit in range(len(names))]
    groups = _groups(places.ravel(), len(names), strata)
    value = float(statistic(rows))
    if len(names) < 2:
        return Interval(value, 0.0, 1.0)
    rng = np.random.default_rng(seed)
    replicates = np.array(
        [statistic(np.concatenate([members[unit] for unit in _drawn(groups, rng)])) for _ in range(draws)]
    )
    replicates = replicates[~np.isnan(replicates)]
    if not len(replicates):
        return Interval(value, 0.0, 1.0)
    levels = _corrected(statistic, members, value, replicates) if method == "bca" else LEVEL
    return Interval(value, *(float(bound) for bound in np.quantile(replicates, levels)))


def _groups(
    places: NDArray[np.int64], count: int, strata: NDArray[np.generic] | None
) -> list[NDArray[np.int64]]:
    """Return the units of every stratum."""
    if strata is None:
        return [np.arange(count)]
    kinds = np.unique(strata, return_inverse=True)[1].ravel()
    pairs = np.unique(np.stack([places, kinds]), axis=1)
    if pairs.shape[1] != count:
        raise ValueError("A unit lies in two strata: strata must not divide what is drawn together.")
    return [pairs[0, pairs[1] == kind] for kind in range(int(kinds.max()) + 1)]


def _drawn(groups: list[NDArray[np.int64]], rng: np.random.Generator) -> NDArray[np.int64]:
    """Return as many units as there are, drawn with replacement within their strata."""
    return np.concatenate([rng.choice(group, size=len(group)) for group in groups])


def _corrected(
    statistic: Statistic, members: list[NDArray[np.int64]], value: float, replicates: Array
) -> tuple[float, float]:
    """Return the quantiles that bound the interval, corrected for bias and acceleration (Efron 1987)."""
    below = float(((replicates < value).sum() + 0.5 * (replicates == value).sum()) / len(replicates))
    if not 0 < below < 1:
        return LEVEL
    rows = [np.concatenate(members[:unit] + members[unit + 1 :]) for unit in range(len(members))]
    without = np.array([statistic(kept) for kept in rows])
    deviations = np.nanmean(without) - without[~np.isnan(without)]
    squares = float((deviations**2).sum())
    acceleration = float((deviations**3).sum()) / (6 * squares**1.5) if squares > 0 else 0.0
    bias = norm.ppf(below)
    low, high = (float(norm.cdf(bias + (bias + z) / (1 - acceleration * (bias + z)))) for z in (-Z95, Z95))
    return low, high


def proportion(successes: NDArray[np.bool_], patients: NDArray[np.generic]) -> tuple[Interval, float]:
    """Return a share of findings with its 95 % interval over patients, and the design effect.

    `successes`: [findings]; `patients`: [findings]. The ratio estimator of Rao and Scott (1992), as Obuchowski (1998)
    uses it for sensitivities: its variance over patients gives the design effect, and the Wilson interval is that of
    as many findings as would be independent, never more than there are (Korn and Graubard 1998). The design effect
    is how often larger the variance is than of independent findings: about 1 with one finding a patient; taken as 1
    where the share is 0 or 1, whose findings tell nothing of it.
    """
    names, places = np.unique(patients, return_inverse=True)
    sizes = np.bincount(places.ravel()).astype(np.float64)
    found = np.bincount(places.ravel(), weights=successes.astype(np.float64))
    count, clusters = float(sizes.sum()), len(names)
    if not clusters:
        return Interval(np.nan, 0.0, 1.0), 1.0
    share = float(found.sum() / count)
    if clusters < 2 or share in (0.0, 1.0):
        return _score_interval(share, count if clusters > 1 else 1.0), 1.0
    variance = clusters / (clusters - 1) * float(((found - sizes * share) ** 2).sum()) / count**2
    effect = variance / (share * (1 - share) / count)
    return _score_interval(share, count / max(effect, 1.0)), effect


def _score_interval(share: float, count: float) -> Interval:
    """Return Wilson's interval of a share of a number of findings that need not be whole."""
    centre = (share + Z95**2 / (2 * count)) / (1 + Z95**2 / count)
    reach = Z95 / (1 + Z95**2 / count) * float(np.sqrt(share * (1 - share) / count + Z95**2 / (4 * count**2)))
    low = 0.0 if share == 0 else max(centre - reach, 0.0)
    high = 1.0 if share == 1 else min(centre + reach, 1.0)
    return Interval(share, low, high)
