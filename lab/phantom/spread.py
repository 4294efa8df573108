"""How the specks of a lesion are spread in the breast, by BI-RADS distribution."""

from typing import TypeAlias

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from mammography.finding import Distribution, Morphology

Offsets: TypeAlias = NDArray[np.float64]

DISTRIBUTIONS: dict[Morphology, tuple[tuple[Distribution, ...], tuple[float, ...]]] = {
    Morphology.AMORPHOUS: (
        (Distribution.GROUPED, Distribution.REGIONAL, Distribution.SEGMENTAL),
        (0.65, 0.2, 0.15),
    ),
    Morphology.COARSE_HETEROGENEOUS: ((Distribution.GROUPED, Distribution.SEGMENTAL), (0.85, 0.15)),
    Morphology.FINE_PLEOMORPHIC: (
        (Distribution.GROUPED, Distribution.LINEAR, Distribution.SEGMENTAL),
        (0.65, 0.12, 0.23),
    ),
    Morphology.FINE_LINEAR: (
        (Distribution.LINEAR, Distribution.SEGMENTAL, Distribution.GROUPED),
        (0.45, 0.4, 0.15),
    ),
    Morphology.PUNCTATE: (
        (Distribution.GROUPED, Distribution.DIFFUSE, Distribution.REGIONAL),
        (0.5, 0.25, 0.25),
    ),
    Morphology.ROUND: (
        (Distribution.GROUPED, Distribution.DIFFUSE, Distribution.REGIONAL),
        (0.45, 0.35, 0.2),
    ),
    Morphology.ROD_LIKE: ((Distribution.DIFFUSE, Distribution.SEGMENTAL), (0.7, 0.3)),
    Morphology.SKIN: ((Distribution.GROUPED,), (1.0,)),
    Morphology.MILK_OF_CALCIUM: ((Distribution.GROUPED,), (1.0,)),
    Morphology.VASCULAR: ((Distribution.LINEAR,), (1.0,)),
}
"""How each morphology is spread, and how often; morphologies that are not here have no distribution."""


def spread(count: int, distribution: Distribution | None, rng: Generator, easy: bool) -> Offsets:
    """Return [count, 3] offsets in mm for a distribution; the first axis points to the chest wall."""
    if distribution is Distribution.LINEAR:
        along = rng.uniform(-1, 1, count) * rng.uniform(5, 12)
        bow = 0.03 * along**2
        return np.stack([along, *(rng.normal(0, 0.5, count) + bow * rng.normal() for _ in range(2))], axis=1)
    if distribution is Distribution.SEGMENTAL:
        length = rng.uniform(14, 36)
        along = length * np.sqrt(rng.random(count))
        wide = along * np.tan(rng.uniform(0.15, 0.32))
        return np.stack([along - 0.6 * length, *(rng.uniform(-1, 1, count) * wide for _ in range(2))], axis=1)
    if distribution is Distribution.REGIONAL:
        return rng.uniform(-1, 1, (count, 3)) * np.array([1.0, 0.7, 0.7]) * rng.uniform(12, 20)
    if distribution is Distribution.DIFFUSE:
        return rng.uniform(-1, 1, (count, 3)) * np.array([24.0, 40.0, 40.0])
    radius = rng.uniform(3.0, 6.0) if easy else np.exp(rng.normal(np.log(4.2), 0.4))
    direction = rng.standard_normal((count, 3))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    reach = radius * np.cbrt(rng.random((count, 1))) * np.where(rng.random((count, 1)) < 0.8, 1, 1.25)
    return direction * reach * np.exp(rng.normal(0, 0.2, (1, 3)))
