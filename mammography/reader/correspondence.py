"""Which findings of two views show the same lesion, and what a whole breast's findings add up to.

A lesion lies about as far behind the nipple in the craniocaudal view as in the oblique one (posterior nipple
line). Depth decides; number, extent and morphology of the specks speak for or against.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment

from mammography.finding import (
    BreastScore,
    Correspondence,
    Finding,
    FindingKind,
    FindingPlace,
    ImageReading,
    Morphology,
    ReadStatus,
)
from mammography.view import FROM_ABOVE, FROM_THE_SIDE, Laterality

DEPTH_SIGMA_MM = 6.0
"""How far depths in two views differ."""
COUNT_SIGMA, EXTENT_SIGMA = 1.3, 1.0
"""Deviation of the natural logarithm of the ratio of two counts, and of two extents."""
LEAST_SCORE = 0.15
"""Two findings below this are said to correspond to nothing; depths 12 mm apart alone lead below it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trait:
    """What a finding can be recognised by in another view.

    `depth_mm` behind the nipple, along the perpendicular to the chest wall side of the image; `extent_mm` the
    widest distance of its specks, or the size of a large one; `morphologies` with their probabilities.
    """

    kind: FindingKind
    depth_mm: float
    extent_mm: float
    specks: int
    morphologies: Mapping[Morphology, float]


def likeness(one: Trait, other: Trait) -> float:
    """Return how well two findings of two views fit one lesion, 0 to 1; the order does not matter."""
    apart = abs(one.depth_mm - other.depth_mm)
    if one.kind is not other.kind:
        return 0.0
    deviations = (
        apart / DEPTH_SIGMA_MM,
        math.log(one.specks / other.specks) / COUNT_SIGMA,
        math.log((one.extent_mm + 1.0) / (other.extent_mm + 1.0)) / EXTENT_SIGMA,
    )
    names = one.morphologies.keys() | other.morphologies.keys()
    shared = sum(min(one.morphologies.get(name, 0.0), other.morphologies.get(name, 0.0)) for name in names)
    agreement = 0.5 + 0.5 * shared if names else 1.0
    return min(agreement * math.exp(-0.5 * sum(deviation**2 for deviation in deviations)), 1.0)


def correspondences_of(
    images: Sequence[ImageReading], traits: Sequence[Sequence[Trait]]
) -> tuple[Correspondence, ...]:
    """Return which findings of one breast's views correspond; `traits` has one for each finding of each image.

    The pairs are those whose likenesses add up to most (Hungarian method); each finding is in at most one.
    """
    found = []
    for side in (Laterality.RIGHT, Laterality.LEFT):
        above, beside = (
            [
                FindingPlace(place, number)
                for place, image in enumerate(images)
                if image.view and image.view.laterality is side and image.view.position in positions
                for number in range(len(image.findings))
            ]
            for positions in (FROM_ABOVE, FROM_THE_SIDE)
        )
        if not above or not beside:
            continue
        table = np.array(
            [
                [
                    likeness(traits[one.image][one.finding], traits[other.image][other.finding])
                    for other in beside
                ]
                for one in above
            ]
        )
        pairs = zip(*linear_sum_assignment(table, maximize=True), strict=True)
        found += [
            Correspondence(first=above[row], second=beside[column], score=round(float(table[row, column]), 4))
            for row, column in pairs
            if table[row, column] >= LEAST_SCORE
        ]
    return tuple(found)


def breast_scores(images: Sequence[ImageReading]) -> tuple[BreastScore, ...]:
    """Return the highest suspicion of each breast of which an image was read; 0 where nothing was found."""
    highest: dict[Laterality, float] = {}
    for image in images:
        if image.status is ReadStatus.READ and image.view and image.view.laterality is not Laterality.BOTH:
            side = image.view.laterality
            highest[side] = max([highest.get(side, 0.0), *(finding.suspicion for finding in image.findings)])
    return tuple(BreastScore(laterality=side, suspicion=highest[side]) for side in sorted(highest))


def extent_of(finding: Finding, spacing_mm: float) -> float:
    """Return how wide a finding is, in mm: the widest distance of its specks, or the diameter of a large one."""
    if finding.kind is FindingKind.LARGE:
        return finding.specks[0].diameter_mm
    centers = np.array([speck.center for speck in finding.specks])
    return float(np.linalg.norm(centers[:, None] - centers[None], axis=2).max()) * spacing_mm
