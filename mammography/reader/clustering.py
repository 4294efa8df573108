"""From points to clusters: which specks belong together, how they are spread, and the outline around them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import ConvexHull, cKDTree

from mammography.coordinates import ImagePoint
from mammography.finding import Distribution
from mammography.reader.plan import ReaderPlan

Places = NDArray[np.float64]
"""[points, 2] of row, column in mm."""

SQUARE_CENTIMETRE_RADIUS_MM = 10.0 / math.sqrt(math.pi)
GROUPED_EXTENT_MM = 20.0
"""A grouped distribution is no wider than this (BI-RADS 5th edition)."""
LINEAR_RATIO, LINEAR_LENGTH_MM = 0.25, 8.0
SEGMENTAL_RATIO, SEGMENTAL_ANGLE_DEGREES = 0.65, 25.0
DIFFUSE_SHARE = 2 / 3
OUTLINE_MARGIN_MM = 1.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """How some points lie: widest distance, deviation along and across their axis (mm), its direction."""

    extent_mm: float
    along_mm: float
    across_mm: float
    direction: tuple[float, float]
    """Unit vector (row, column) of the longer axis."""

    @property
    def ratio(self) -> float:
        """Across over along: 0 for a line, 1 for a disc."""
        return self.across_mm / max(self.along_mm, 1e-6)


def clusters_of(places: Places, plan: ReaderPlan) -> list[NDArray[np.intp]]:
    """Return the indices of the points of each cluster: single linkage, and enough of them in 1 cm2."""
    if len(places) < plan.fewest_specks:
        return []
    tree = cKDTree(places)
    pairs = tree.query_pairs(plan.link_mm, output_type="ndarray")
    links = coo_array((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(len(places), len(places)))
    count, labels = connected_components(links, directed=False)
    crowds = tree.query_ball_point(places, SQUARE_CENTIMETRE_RADIUS_MM, return_length=True)
    members = [np.flatnonzero(labels == number) for number in range(count)]
    return [indices for indices in members if crowds[indices].max() >= plan.fewest_specks]


def spread_of(places: Places) -> Spread:
    """Return how at least two points lie."""
    centered = places - places.mean(axis=0)
    values, vectors = np.linalg.eigh(centered.T @ centered / len(places))
    distances = np.linalg.norm(places[:, None] - places[None], axis=2)
    return Spread(
        extent_mm=float(distances.max()),
        along_mm=float(np.sqrt(max(values[1], 0.0))),
        across_mm=float(np.sqrt(max(values[0], 0.0))),
        direction=(float(vectors[0, 1]), float(vectors[1, 1])),
    )


def distribution_of(
    places: Places, *, nipple: tuple[float, float], breast_area_mm2: float
) -> Distribution | None:
    """Return the BI-RADS distribution that the geometry shows, None where it shows none clearly.

    Linear: a thin long band. Grouped: within 20 mm. Wider ones are diffuse over two thirds of the breast,
    segmental where they point to the nipple (row, column in mm), and regional where they are round.
    """
    spread = spread_of(places)
    if spread.ratio < LINEAR_RATIO and spread.extent_mm > LINEAR_LENGTH_MM:
        return Distribution.LINEAR
    if spread.extent_mm <= GROUPED_EXTENT_MM:
        return Distribution.GROUPED
    if len(places) > 3 and ConvexHull(places).volume > DIFFUSE_SHARE * breast_area_mm2:
        return Distribution.DIFFUSE
    toward = np.array(nipple) - places.mean(axis=0)
    cosine = abs(float(toward @ np.array(spread.direction))) / max(float(np.linalg.norm(toward)), 1e-6)
    if spread.ratio < SEGMENTAL_RATIO:
        pointing = cosine > math.cos(math.radians(SEGMENTAL_ANGLE_DEGREES))
        return Distribution.SEGMENTAL if pointing else None
    return Distribution.REGIONAL


def nipple_of(breast: NDArray[np.bool_], spacing_mm: float) -> tuple[float, float]:
    """Return (row, column) in mm of the breast's point farthest from the chest wall on the left."""
    widths = breast.sum(axis=1)
    farthest = np.flatnonzero(widths >= widths.max() - 1)
    return float(farthest.mean() + 0.5) * spacing_mm, float(widths.max()) * spacing_mm


def outline_of(
    centers: Sequence[ImagePoint],
    diameters_mm: Sequence[float],
    *,
    spacing_mm: float,
    rows: int,
    columns: int,
) -> tuple[ImagePoint, ...]:
    """Return the convex polygon around all specks with 1.5 mm to spare, inside the image, in stored pixels."""
    angles = np.linspace(0.0, 2 * np.pi, 16, endpoint=False)
    circle = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    radii = (OUTLINE_MARGIN_MM + np.asarray(diameters_mm) / 2) / spacing_mm
    rim = (np.asarray(centers)[:, None] + circle[None] * radii[:, None, None]).reshape(-1, 2)
    rim = np.unique(np.round(np.clip(rim, 0.0, (columns, rows)), 2), axis=0)
    return tuple(ImagePoint(*map(float, rim[vertex])) for vertex in ConvexHull(rim).vertices)
