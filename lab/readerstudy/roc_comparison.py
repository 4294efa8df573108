"""Areas under ROC curves with their covariances (DeLong), also of clustered cases, and tests between them."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm, rankdata

from lab.evaluation.statistics import Interval
from lab.readerstudy.proportions import Z95

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DeLong:
    """Areas under the ROC curve of readings of the same cases.

    `areas`: [readings], 0 to 1; `covariance`: [readings, readings].
    """

    areas: Array
    covariance: Array

    def interval(self, reading: int = 0) -> Interval:
        """Return one reading's area with its 95 % interval, cut at 0 and 1."""
        area, reach = float(self.areas[reading]), Z95 * math.sqrt(max(self.covariance[reading, reading], 0.0))
        return Interval(area, max(area - reach, 0.0), min(area + reach, 1.0))


@dataclass(frozen=True, slots=True, kw_only=True)
class AreaComparison:
    """Two areas, the first less the second with its 95 % interval, and the two-sided P that they are equal."""

    first: float
    second: float
    difference: Interval
    z: float
    p: float


def placements(scores: Array, positive: NDArray[np.bool_]) -> tuple[Array, Array]:
    """Return the share of the other kind that each case outranks, ties counting half.

    `scores`: [..., cases]. Returns [..., positive cases], the share of negatives below each, and [..., negative
    cases], the share of positives above each. Either one's mean is the area under the ROC curve.

    Raises:
        ValueError: if there are not both kinds of cases, or a score is not a number.
    """
    count_positive, count_negative = int(positive.sum()), int((~positive).sum())
    if not count_positive or not count_negative:
        raise ValueError("An ROC curve needs positive and negative cases; one kind is missing.")
    if np.isnan(scores).any():
        raise ValueError("A score is missing: every reading must score every case.")
    of_positive, of_negative = scores[..., positive], scores[..., ~positive]
    ranks = rankdata(np.concatenate([of_positive, of_negative], axis=-1), axis=-1)
    above = (ranks[..., :count_positive] - rankdata(of_positive, axis=-1)) / count_negative
    below = (ranks[..., count_positive:] - rankdata(of_negative, axis=-1)) / count_positive
    return above, 1 - below


def delong(scores: Array, positive: NDArray[np.bool_], patients: NDArray[np.generic] | None = None) -> DeLong:
    """Return the areas of several readings and how they vary together.

    By DeLong, DeLong and Clarke-Pearson (1988) from midranks (Sun and Xu 2014); with `patients`, whose cases belong
    together, by Obuchowski (1997), which is the same where every patient has one case. `scores`: [readings, cases],
    higher for what is more likely positive; `positive`: [cases]; `patients`: [cases], whose each is.

    Raises:
        ValueError: if there are not at least two patients (two cases without them) of each kind, or a score is
            missing.
    """
    above, below = placements(scores, positive)
    areas = above.mean(axis=-1)
    owners = np.arange(positive.size) if patients is None else np.unique(patients, return_inverse=True)[1]
    owners = owners.ravel()
    wins = _summed(above - areas[:, None], owners[positive], owners.max() + 1) / int(positive.sum())
    rejections = _summed(below - areas[:, None], owners[~positive], owners.max() + 1) / int((~positive).sum())
    with_positive, with_negative = len(np.unique(owners[positive])), len(np.unique(owners[~positive]))
    if min(with_positive, with_negative) < 2:
        raise ValueError("An area's variance needs at least two positive and two negative cases.")
    everyone = len(np.unique(owners))
    mixed = wins @ rejections.T
    covariance = (
        wins @ wins.T * with_positive / (with_positive - 1)
        + rejections @ rejections.T * with_negative / (with_negative - 1)
        + (mixed + mixed.T) * everyone / (everyone - 1)
    )
    return DeLong(areas=areas, covariance=covariance)


def _summed(values: Array, owners: NDArray[np.int64], count: int) -> Array:
    """Return the sums of values [readings, cases] over each owner's cases [readings, owners]."""
    sums = np.zeros((count, values.shape[0]))
    np.add.at(sums, owners, values.T)
    return sums.T


def compare(
    first: Array, second: Array, positive: NDArray[np.bool_], patients: NDArray[np.generic] | None = None
) -> AreaComparison:
    """Return the paired comparison of two readings of the same cases. `first`, `second`: [cases], scores."""
    both = delong(np.stack([first, second]), positive, patients)
    contrast = np.array([1.0, -1.0])
    return _compared(both.areas[0], both.areas[1], float(contrast @ both.covariance @ contrast))


def compare_unpaired(
    first: Array,
    first_positive: NDArray[np.bool_],
    second: Array,
    second_positive: NDArray[np.bool_],
    patients: tuple[NDArray[np.generic] | None, NDArray[np.generic] | None] = (None, None),
) -> AreaComparison:
    """Return the comparison of readings of different patients' cases, such as those of two sites.

    `patients`: whose each case is, of the first reading and of the second; None where every patient has one.
    """
    one = delong(first[None], first_positive, patients[0])
    other = delong(second[None], second_positive, patients[1])
    return _compared(one.areas[0], other.areas[0], float(one.covariance[0, 0] + other.covariance[0, 0]))


def _compared(first: float, second: float, variance: float) -> AreaComparison:
    """Return two areas compared; areas that cannot vary differ surely or not at all."""
    value, error = float(first - second), math.sqrt(max(variance, 0.0))
    certain = 0.0 if abs(value) < 1e-12 else math.copysign(math.inf, value)
    z = value / error if error > 1e-12 else certain
    return AreaComparison(
        first=float(first),
        second=float(second),
        difference=Interval(value, value - Z95 * error, value + Z95 * error),
        z=z,
        p=float(2 * norm.sf(abs(z))),
    )
