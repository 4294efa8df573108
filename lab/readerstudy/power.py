"""How many readers and cases a study needs, from what a pilot or the literature says of the variances.

Hillis, Obuchowski and Berbaum (2011): the noncentral F distribution of the test of Obuchowski and Rockette, its
covariances shrinking as the cases grow.
"""

import math
from dataclasses import dataclass
from typing import Protocol

from scipy.stats import chi2, f, ncf, ncx2

from lab.readerstudy.obuchowski_rockette import Random

MOST_CASES = 100_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Variances:
    """What varies between two treatments, in units of the squared figure, at `cases` cases.

    `treatment_reader`: between readers, beyond what cases explain; `error`: of one reader's figure; `covariance_1`:
    between a reader's treatments; `covariance_2`: between readers of one treatment; `covariance_3`: between other
    readers and treatments.
    """

    treatment_reader: float
    error: float
    covariance_1: float
    covariance_2: float
    covariance_3: float
    cases: int

    def __post_init__(self) -> None:
        """Refuse variances that no study could have."""
        if (
            self.cases < 1
            or not self.error > 0
            or self.treatment_reader < 0
            or self.error < self.covariance_1
        ):
            raise ValueError(
                "Variances need at least one case, an error above 0 and above covariance 1, and no negative part."
            )


class Components(Protocol):
    """Variance components as an analysis estimates them; a small part may lie below 0."""

    @property
    def treatment_reader(self) -> float:
        """Variance of readers' differences between the ways."""

    @property
    def error(self) -> float:
        """Variance of one figure by the cases alone."""

    @property
    def covariance_1(self) -> float:
        """Of one reader's figures in two ways."""

    @property
    def covariance_2(self) -> float:
        """Of two readers' figures in one way."""

    @property
    def covariance_3(self) -> float:
        """Of two readers' figures in two ways."""


def variances_of(pilot: Components, cases: int) -> Variances:
    """Return what a pilot study of so many cases tells; readers' variance estimated below 0 is taken as 0."""
    return Variances(
        treatment_reader=max(pilot.treatment_reader, 0.0),
        error=pilot.error,
        covariance_1=pilot.covariance_1,
        covariance_2=pilot.covariance_2,
        covariance_3=pilot.covariance_3,
        cases=cases,
    )


def power(
    variances: Variances,
    *,
    difference: float,
    readers: int,
    cases: int,
    random: Random = "readers-and-cases",
    level: float = 0.05,
) -> float:
    """Return how often a fully crossed study of two treatments would tell them apart, 0 to 1.

    `difference`: of the mean figures, such as 0.05 of area; `level`: two-sided. The share of cases with disease is
    that of the pilot.

    Raises:
        ValueError: if there is no case, or fewer than two readers where readers are random.
    """
    if cases < 1 or readers < (1 if random == "cases" else 2):
        raise ValueError("A study needs cases, and two readers where readers are random.")
    shrunk = variances.cases / cases
    correlated = shrunk * max(variances.covariance_2 - variances.covariance_3, 0.0)
    own = shrunk * (variances.error - variances.covariance_1)
    spread = max(own - correlated, 0.0)
    effect = readers * difference**2 / 2
    if random == "cases":
        expected = spread + readers * correlated
        return _beyond(effect, expected, math.inf, level)
    interaction = variances.treatment_reader + spread
    if random == "readers":
        return _beyond(effect, interaction, readers - 1, level)
    expected = interaction + readers * correlated
    return _beyond(effect, expected, expected**2 * (readers - 1) / interaction**2, level)


def _beyond(effect: float, expected: float, ddf: float, level: float) -> float:
    """Return how often the statistic lies beyond its critical value."""
    if effect == 0:
        return level
    noncentrality = effect / expected
    if math.isinf(ddf):
        return float(ncx2.sf(chi2.isf(level, 1), 1, noncentrality))
    return float(ncf.sf(f.isf(level, 1, ddf), 1, ddf, noncentrality))


def cases_needed(
    variances: Variances,
    *,
    difference: float,
    readers: int,
    wanted: float = 0.8,
    random: Random = "readers-and-cases",
    level: float = 0.05,
) -> int | None:
    """Return the fewest cases with which so many readers reach the wanted power; None where no number does.

    With random readers more cases help only as far as readers agree: beyond 100,000 cases none are sought.
    """

    def enough(cases: int) -> bool:
        reached = power(
            variances, difference=difference, readers=readers, cases=cases, random=random, level=level
        )
        return reached >= wanted

    if not enough(MOST_CASES):
        return None
    low, high = 0, MOST_CASES
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high
