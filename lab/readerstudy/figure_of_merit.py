"""A reader's figure of merit in every treatment, and what it becomes without each patient (the jackknife)."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from lab.readerstudy.roc_comparison import delong, placements

Array = NDArray[np.float64]

Statistic = Callable[[NDArray[np.int64]], Array]
"""From how often each patient counts [patients] to the figures [treatments, readers], NaN where undefined."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FigureOfMerit:
    """Figures of a fully crossed study: every reader read every case in every treatment.

    `values`: [treatments, readers]; `without`: [treatments, readers, patients], the figures when one patient is left
    out; `statistic`: the figures of any resample of patients, for the bootstrap; `delong`: [treatments * readers,
    treatments * readers], their covariance by DeLong where it is an area under the ROC curve.
    """

    values: Array
    without: Array
    statistic: Statistic
    delong: Array | None = None


def numbered(patients: NDArray[np.generic] | None, cases: int) -> NDArray[np.int64]:
    """Return [cases], each case's patient counted from 0; every case is a patient of its own without them."""
    if patients is None:
        return np.arange(cases)
    return np.unique(patients, return_inverse=True)[1].ravel().astype(np.int64)


def left_out(statistic: Statistic, patients: int) -> Array:
    """Return [treatments, readers, patients], a statistic with each patient left out in turn."""
    kept = np.ones((patients, patients), dtype=np.int64) - np.eye(patients, dtype=np.int64)
    return np.stack([statistic(draw) for draw in kept], axis=-1)


def areas(
    ratings: Array, positive: NDArray[np.bool_], patients: NDArray[np.generic] | None = None
) -> FigureOfMerit:
    """Return the areas under the empirical ROC curves.

    `ratings`: [treatments, readers, cases]; `positive`: [cases]; `patients`: [cases], whose each case is.

    Raises:
        ValueError: if a rating is missing or one kind of case is.
    """
    owners = numbered(patients, positive.size)
    above, below = placements(ratings, positive)
    shape = ratings.shape[:2]

    def statistic(draws: NDArray[np.int64]) -> Array:
        return _weighted_areas(ratings, positive, draws[owners])

    if patients is None:
        without = np.empty(ratings.shape)
        wins, rejections = above.sum(axis=-1, keepdims=True), below.sum(axis=-1, keepdims=True)
        without[..., positive] = (wins - above) / (above.shape[-1] - 1)
        without[..., ~positive] = (rejections - below) / (below.shape[-1] - 1)
    else:
        without = left_out(statistic, int(owners.max()) + 1)
    flat = delong(ratings.reshape(-1, positive.size), positive, patients)
    return FigureOfMerit(
        values=flat.areas.reshape(shape), without=without, statistic=statistic, delong=flat.covariance
    )


def _weighted_areas(ratings: Array, positive: NDArray[np.bool_], times: NDArray[np.int64]) -> Array:
    """Return [treatments, readers] areas where each case counts so many times."""
    drawn = np.repeat(ratings, times, axis=-1)
    kinds = np.repeat(positive, times)
    if kinds.all() or not kinds.any():
        return np.full(ratings.shape[:2], np.nan)
    return placements(drawn, kinds)[0].mean(axis=-1)


def shares(
    right: NDArray[np.bool_], counted: NDArray[np.bool_], patients: NDArray[np.generic] | None = None
) -> FigureOfMerit:
    """Return how often readers are right, such as sensitivity or specificity.

    `right`: [treatments, readers, cases]; `counted`: [cases], which cases count (the positive ones for sensitivity,
    the others for specificity). Only patients with such cases enter.

    Raises:
        ValueError: if fewer than two patients have cases that count.
    """
    owners = numbered(None if patients is None else patients[counted], int(counted.sum()))
    if not len(owners) or owners.max() < 1:
        raise ValueError("A share needs cases of at least two patients.")
    kept = right[..., counted].astype(np.float64)

    def statistic(draws: NDArray[np.int64]) -> Array:
        times = draws[owners]
        return np.asarray(kept @ times / times.sum())

    return FigureOfMerit(
        values=kept.mean(axis=-1), without=left_out(statistic, int(owners.max()) + 1), statistic=statistic
    )


def jackknife_covariance(figures: FigureOfMerit) -> Array:
    """Return [treatments * readers, treatments * readers], how the figures vary together (Efron 1982)."""
    flat = figures.without.reshape(-1, figures.without.shape[-1])
    patients = flat.shape[1]
    deviations = flat - flat.mean(axis=1, keepdims=True)
    return np.asarray(deviations @ deviations.T * (patients - 1) / patients)


def bootstrap_covariance(figures: FigureOfMerit, rng: Generator, draws: int = 2000) -> Array:
    """Return the same by resampling patients; draws that leave a figure undefined do not count."""
    patients = figures.without.shape[-1]
    times = rng.multinomial(patients, np.full(patients, 1 / patients), size=draws)
    replicates = np.stack([figures.statistic(draw).ravel() for draw in times])
    return np.cov(replicates[~np.isnan(replicates).any(axis=1)], rowvar=False).reshape(
        figures.values.size, figures.values.size
    )
