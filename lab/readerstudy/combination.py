"""Opinions put together by rule: of two readers, or of a reader and the model."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Rule = Literal["either", "both", "mean", "arbitration"]
"""either: what one calls, the pair calls; both: what both call; mean: by the mean score; arbitration: where the two
calls differ, a third opinion counts."""
RULES: tuple[Rule, ...] = ("either", "both", "mean", "arbitration")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Opinion:
    """What was said of cases or lesions.

    `scores`: [units], 0 to 100, NaN where not read; `calls`: [units], positive; `found`: [units], marked at all, or of
    cases read at all.
    """

    scores: NDArray[np.float64]
    calls: NDArray[np.bool_]
    found: NDArray[np.bool_]

    @property
    def read(self) -> NDArray[np.bool_]:
        """[units], what was read."""
        return ~np.isnan(self.scores)

    def of(self, chosen: NDArray[np.bool_]) -> "Opinion":
        """Return what was said of some units."""
        return Opinion(scores=self.scores[chosen], calls=self.calls[chosen], found=self.found[chosen])


def combine(
    rule: Rule,
    first: Opinion,
    second: Opinion,
    arbiter: Opinion | None = None,
    *,
    positive_score: float = 50.0,
) -> Opinion:
    """Return the opinion of a pair; what one of those that it needs did not read is not read.

    Scores: the higher one (either), the lower one (both), their mean, or (arbitration) the mean where the calls agree
    and the arbiter's where they do not. A place is found by the same rule; with the mean, where either marks it.
    `positive_score`: from which mean on a call is positive.

    Raises:
        ValueError: if arbitration lacks an arbiter.
    """
    middle = (first.scores + second.scores) / 2
    if rule == "either":
        scores = np.maximum(first.scores, second.scores)
        return Opinion(scores=scores, calls=first.calls | second.calls, found=first.found | second.found)
    if rule == "both":
        scores = np.minimum(first.scores, second.scores)
        return Opinion(scores=scores, calls=first.calls & second.calls, found=first.found & second.found)
    if rule == "mean":
        calls = np.nan_to_num(middle, nan=-1.0) >= positive_score
        return Opinion(scores=middle, calls=calls, found=first.found | second.found)
    if arbiter is None:
        raise ValueError("Arbitration needs a third opinion: name an arbiter.")
    agreed = first.calls == second.calls
    return Opinion(
        scores=np.where(agreed, middle, arbiter.scores + 0 * middle),
        calls=np.where(agreed, first.calls, arbiter.calls),
        found=np.where(first.found == second.found, first.found, arbiter.found),
    )
