"""Suspicion as the literature has it: how often calcifications of a morphology and distribution were malignant.

No weights of ours have seen a biopsy, so suspicion is looked up, not learned: the expected share of malignancy
under what the reader believes of morphology and distribution, on a fixed scale. It says what biopsies of *such*
calcifications found elsewhere, and never how likely this woman has cancer.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from mammography.finding import LARGE_MORPHOLOGIES, Distribution, Morphology

MIDDLE = 0.05
"""The share of malignancy that becomes a suspicion of 0.5: in odds, halfway from the most malignant of the probably
benign (0.02) to the least malignant of the suspicious (0.13)."""

_BI_RADS = "ACR BI-RADS Atlas, 5th edition (2013), mammography, calcifications"
_EUR_RADIOL = "Eur Radiol 2020, s00330-020-07215-8, 1,076 women in two cohorts"
_KIM = "Kim 2023, doi 10.1016/j.ejrad.2023.110795, 367 amorphous groups"
_LIBERMAN = "Liberman 1998, AJR 171:35, 492 biopsies"
_HEGDE = "Hegde 2025, doi 10.1055/s-0045-1809161, 77 lesions"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A share of malignancy (0 to 1), the lowest and the highest that was published, and where it stands."""

    share: float
    lowest: float
    highest: float
    source: str


MORPHOLOGY_SHARES: Mapping[Morphology, Entry] = {
    Morphology.FINE_LINEAR: Entry(
        share=0.70, lowest=0.70, highest=1.0, source=f"{_BI_RADS}; {_EUR_RADIOL}: 0.79, 0.85; {_HEGDE}: 1.0"
    ),
    Morphology.FINE_PLEOMORPHIC: Entry(
        share=0.29, lowest=0.29, highest=0.79, source=f"{_BI_RADS}; {_EUR_RADIOL}: 0.79, 0.45; {_HEGDE}: 0.50"
    ),
    Morphology.AMORPHOUS: Entry(
        share=0.21,
        lowest=0.05,
        highest=0.23,
        source=f"{_BI_RADS}; {_EUR_RADIOL}: 0.09, 0.06; {_KIM}: 0.05, 0.23",
    ),
    Morphology.COARSE_HETEROGENEOUS: Entry(
        share=0.13, lowest=0.13, highest=0.45, source=f"{_BI_RADS}; {_EUR_RADIOL}: 0.16, 0.22; {_HEGDE}: 0.45"
    ),
    Morphology.PUNCTATE: Entry(
        share=0.02, lowest=0.0, highest=0.02, source=f"{_BI_RADS}: grouped ones are probably benign"
    ),
    Morphology.ROUND: Entry(
        share=0.01, lowest=0.0, highest=0.02, source=f"{_BI_RADS}: grouped ones are probably benign"
    ),
    Morphology.MILK_OF_CALCIUM: Entry(
        share=0.005, lowest=0.0, highest=0.02, source=f"{_BI_RADS}: typically benign"
    ),
    **{
        morphology: Entry(share=0.005, lowest=0.0, highest=0.02, source=f"{_BI_RADS}: typically benign")
        for morphology in LARGE_MORPHOLOGIES
    },
}
"""How often calcifications of a morphology were malignant; those of one morphology mostly lie in a group."""

DISTRIBUTION_SHARES: Mapping[Distribution, Entry] = {
    Distribution.SEGMENTAL: Entry(
        share=0.62, lowest=0.62, highest=0.74, source=f"{_BI_RADS}; {_LIBERMAN}: 0.74"
    ),
    Distribution.LINEAR: Entry(
        share=0.60, lowest=0.60, highest=0.68, source=f"{_BI_RADS}; {_LIBERMAN}: 0.68"
    ),
    Distribution.GROUPED: Entry(share=0.31, lowest=0.05, highest=0.31, source=f"{_BI_RADS}; {_KIM}: 0.05"),
    Distribution.REGIONAL: Entry(share=0.26, lowest=0.05, highest=0.26, source=f"{_BI_RADS}; {_KIM}: 0.05"),
    Distribution.DIFFUSE: Entry(
        share=0.026, lowest=0.0, highest=0.026, source=f"{_EUR_RADIOL}, amorphous; {_BI_RADS}: 0"
    ),
}
"""How often suspicious calcifications of a distribution were malignant."""

SHAPE_DECIDES = frozenset({Morphology.MILK_OF_CALCIUM, *LARGE_MORPHOLOGIES})
"""Typically benign however they lie: a calcified vessel is linear, and benign."""


def share_of(morphology: Morphology, distribution: Distribution | None) -> Entry:
    """Return the share of malignancy of a morphology in a distribution.

    No series is large enough to publish every pair, so a pair's odds are those of its morphology times those of
    its distribution beside grouped, as if either said nothing of the other. Without a distribution, and for
    typically benign shapes, the morphology alone decides.
    """
    alone = MORPHOLOGY_SHARES[morphology]
    if distribution is None or morphology in SHAPE_DECIDES:
        return alone
    spread = DISTRIBUTION_SHARES[distribution]
    times = _odds(spread.share) / _odds(DISTRIBUTION_SHARES[Distribution.GROUPED].share)
    return Entry(
        share=_share(_odds(alone.share) * times),
        lowest=_share(_odds(alone.lowest) * times),
        highest=_share(_odds(alone.highest) * times),
        source=f"morphology: {alone.source}; distribution: {spread.source}",
    )


def suspicion_of(
    morphologies: Mapping[Morphology, float], distributions: Mapping[Distribution | None, float]
) -> float:
    """Return the suspicion to expect, 0 to 1; both mappings hold probabilities that add up to 1.

    A pair's suspicion is its share of malignancy, the odds beside those of MIDDLE: 0.5 at MIDDLE.
    """
    return sum(
        likely * lying * _share(_odds(share_of(morphology, distribution).share) / _odds(MIDDLE))
        for morphology, likely in morphologies.items()
        for distribution, lying in distributions.items()
    )


def _odds(share: float) -> float:
    """Return the odds of a share; certainty is cut off where it would be infinite."""
    return share / max(1.0 - share, 1e-6)


def _share(odds: float) -> float:
    """Return the share of odds."""
    return odds / (1.0 + odds)
