"""Marks with places compared between readers and treatments: the alternative free-response figures of merit.

AFROC, also called JAFROC (Chakraborty and Berbaum 2004; Chakraborty 2006), and its weighted form wAFROC, where every
case with lesions counts the same however many it has (Chakraborty 2017).
"""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from lab.readerstudy.figure_of_merit import FigureOfMerit, left_out, numbered

Array = NDArray[np.float64]
Kind = Literal["JAFROC", "AFROC", "wAFROC", "AFROC1", "wAFROC1"]
"""JAFROC is another name of AFROC. With a 1, false marks on cases with lesions count too."""


def figure_of_merit(
    highest_false: Array,
    lesions: Array,
    lesion_case: NDArray[np.int64],
    *,
    kind: Kind = "wAFROC",
    weights: Array | None = None,
    patients: NDArray[np.generic] | None = None,
) -> FigureOfMerit:
    """Return how often a lesion's mark outscores a case's worst false mark, ties counting half.

    `highest_false`: [treatments, readers, cases], the highest score of a false mark on every case, minus infinity
    without one; `lesions`: [treatments, readers, lesions], the best mark on every lesion, minus infinity without one;
    `lesion_case`: [lesions], the case each lesion lies in, counted from 0; cases without a lesion are the normal
    ones. `weights`: [lesions], how much each lesion of a case counts, equally without them; made to sum to 1 in a
    case, and used by the weighted kinds only. `patients`: [cases], whose each case is.

    Raises:
        ValueError: if no lesion is there, or no normal case for a kind that needs one, a score is not a number, or
            a weight is not above 0.
    """
    of_cases = np.zeros(highest_false.shape[-1], dtype=np.bool_)
    of_cases[lesion_case] = True
    _refuse(highest_false, lesions, of_cases, kind, weights)
    owners = numbered(patients, of_cases.size)
    shares = (
        _shares(lesion_case, of_cases.size, weights) if kind.startswith("w") else np.ones(lesion_case.size)
    )
    rivals = np.arange(of_cases.size) if kind.endswith("1") else np.flatnonzero(~of_cases)
    won = _won(highest_false[..., rivals], lesions) * shares[:, None]

    def statistic(draws: NDArray[np.int64]) -> Array:
        times = draws[owners].astype(np.float64)
        of_lesions, of_rivals = times[lesion_case], times[rivals]
        pairs = float(shares @ of_lesions) * float(of_rivals.sum())
        if not pairs:
            return np.full(won.shape[:2], np.nan)
        return np.asarray(np.einsum("trlc,l,c->tr", won, of_lesions, of_rivals) / pairs)

    patients_there = int(owners.max()) + 1
    return FigureOfMerit(
        values=statistic(np.ones(patients_there, dtype=np.int64)),
        without=left_out(statistic, patients_there),
        statistic=statistic,
    )


def _refuse(
    highest_false: Array, lesions: Array, of_cases: NDArray[np.bool_], kind: Kind, weights: Array | None
) -> None:
    """Refuse what has no figure of merit."""
    if np.isnan(highest_false).any() or np.isnan(lesions).any():
        raise ValueError("A score is missing: give minus infinity where there is no mark.")
    if not of_cases.any():
        raise ValueError("No case has a lesion: there is nothing to find.")
    if of_cases.all() and not kind.endswith("1"):
        raise ValueError(f"{kind} needs cases without a lesion: use {kind.removeprefix('J')}1, or add some.")
    if weights is not None and not (weights > 0).all():
        raise ValueError("A lesion's weight is above 0.")


def _shares(lesion_case: NDArray[np.int64], cases: int, weights: Array | None) -> Array:
    """Return [lesions] weights that sum to 1 in every case."""
    given = np.ones(lesion_case.size) if weights is None else weights
    return np.asarray(given / np.bincount(lesion_case, weights=given, minlength=cases)[lesion_case])


def _won(rivals: Array, lesions: Array) -> Array:
    """Return [treatments, readers, lesions, rivals]: 1 where the lesion scores higher, half where equal."""
    above = lesions[..., :, None] > rivals[..., None, :]
    equal = lesions[..., :, None] == rivals[..., None, :]
    return np.asarray(above + 0.5 * equal)
