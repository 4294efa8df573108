"""From points to clusters: which specks belong together, how they are spread, and the outline around them."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components, minimum_spanning_tree
from scipy.spatial import ConvexHull, cKDTree

from mammography.coordinates import ImagePoint
from mammography.finding import Distribution
from mammography.reader.plan import ReaderPlan

Places = NDArray[np.float64]
"""[points, 2] of row, column in mm."""

SQUARE_CENTIMETRE_RADIUS_MM = 10.0 / math.sqrt(math.pi)
GROUPED_EXTENT_MM = 20.0
"""A grouped distribution is no wider than this (BI-RADS 5th edition)."""
LINEAR_RATIO, LINEAR_LENGTH_MM = 0.18, 8.0
SEGMENTAL_RATIO, SEGMENTAL_ANGLE_DEGREES = 0.5, 25.0
DIFFUSE_SHARE = 2 / 3
RATIO_MARGIN, EXTENT_MARGIN_MM, ANGLE_MARGIN_DEGREES, SHARE_MARGIN = 0.03, 1.0, 4.0, 0.05
"""How far beyond a rule's limit the odds of a distribution are e to 1."""
CLEAR = 0.5
"""A distribution is stated from this probability on."""
FEWEST_IN_A_LINE = 5
"""Fewer points lie in a line by chance too often."""
GAP_RATIO, NEXT_GAP_RATIO = 2.0, 1.2
"""A chain longer than a group is cut at a gap this many times its median gap, and its next widest one."""
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
    """Return the indices of the points of each cluster, in rising order.

    Points nearer than `plan.link_mm` belong together (single linkage). A chain longer than a group is cut at
    wide gaps, for two neighbouring groups are two findings; a cluster has enough points in one square centimetre.
    """
    if len(places) < plan.fewest_specks:
        return []
    pairs = cKDTree(places).query_pairs(plan.link_mm, output_type="ndarray")
    lengths = np.maximum(np.linalg.norm(places[pairs[:, 0]] - places[pairs[:, 1]], axis=1), 1e-6)
    links = coo_array((lengths, (pairs[:, 0], pairs[:, 1])), shape=(len(places), len(places)))
    count, labels = connected_components(links, directed=False)
    tree = minimum_spanning_tree(links.tocsr()).tocoo()
    edges = np.stack([tree.row, tree.col], axis=1).astype(np.intp)
    parts = []
    for number in range(count):
        inside = labels[edges[:, 0]] == number
        parts += _cut(np.flatnonzero(labels == number), edges[inside], tree.data[inside], places, plan)
    return [indices for indices in parts if _crowded(places[indices], plan)]


def _cut(
    members: NDArray[np.intp],
    edges: NDArray[np.intp],
    lengths: NDArray[np.float64],
    places: Places,
    plan: ReaderPlan,
) -> list[NDArray[np.intp]]:
    """Return a chain's parts: cut at the one gap that stands out, and again, if both sides are clusters of their own.

    `edges`, `lengths`: the chain's minimum spanning tree. One that is no wider than a group stays whole.
    """
    if len(members) < 2 * plan.fewest_specks or spread_of(places[members]).extent_mm <= GROUPED_EXTENT_MM:
        return [members]
    widest = int(np.argmax(lengths))
    others = np.delete(lengths, widest)
    if lengths[widest] <= max(GAP_RATIO * float(np.median(lengths)), NEXT_GAP_RATIO * float(others.max())):
        return [members]
    kept = np.delete(edges, widest, axis=0)
    graph = coo_array((np.ones(len(kept)), (kept[:, 0], kept[:, 1])), shape=(len(places), len(places)))
    _, labels = connected_components(graph, directed=False)
    sides = [members[labels[members] == labels[end]] for end in edges[widest]]
    if not all(_crowded(places[side], plan) for side in sides):
        return [members]
    parts = []
    for side, end in zip(sides, edges[widest], strict=True):
        on_side = labels[kept[:, 0]] == labels[end]
        parts += _cut(side, kept[on_side], others[on_side], places, plan)
    return parts


def _crowded(places: Places, plan: ReaderPlan) -> bool:
    """Return whether as many points as make a cluster lie in one square centimetre."""
    if len(places) < plan.fewest_specks:
        return False
    crowds = cKDTree(places).query_ball_point(places, SQUARE_CENTIMETRE_RADIUS_MM, return_length=True)
    return int(crowds.max()) >= plan.fewest_specks


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


def distributions_of(
    places: Places, *, nipple: tuple[float, float], breast_area_mm2: float
) -> dict[Distribution | None, float]:
    """Return the probability of each BI-RADS distribution from how points lie (row, column in mm); they sum to 1.

    Linear: a thin long band of at least five. Grouped: within 20 mm. Wider ones are diffuse over two thirds of the breast,
    segmental where they are long and point to the nipple, regional where they are round, and none of these
    (None) where they are long and point elsewhere. Every limit is soft: on it, both sides are as likely.
    """
    spread = spread_of(places)
    toward = np.array(nipple) - places.mean(axis=0)
    cosine = abs(float(toward @ np.array(spread.direction))) / max(float(np.linalg.norm(toward)), 1e-6)
    angle = math.degrees(math.acos(min(cosine, 1.0)))
    area = ConvexHull(places).volume if len(places) > 3 and spread.across_mm > 1e-3 else 0.0
    linear = 0.0
    if len(places) >= FEWEST_IN_A_LINE:
        long = 1.0 - _below(spread.extent_mm, LINEAR_LENGTH_MM, EXTENT_MARGIN_MM)
        linear = long * _below(spread.ratio, LINEAR_RATIO, RATIO_MARGIN)
    grouped = (1.0 - linear) * _below(spread.extent_mm, GROUPED_EXTENT_MM, EXTENT_MARGIN_MM)
    wide = 1.0 - linear - grouped
    diffuse = wide * (1.0 - _below(area / breast_area_mm2, DIFFUSE_SHARE, SHARE_MARGIN))
    stretched = (wide - diffuse) * _below(spread.ratio, SEGMENTAL_RATIO, RATIO_MARGIN)
    pointing = _below(angle, SEGMENTAL_ANGLE_DEGREES, ANGLE_MARGIN_DEGREES)
    return {
        Distribution.LINEAR: linear,
        Distribution.GROUPED: grouped,
        Distribution.DIFFUSE: diffuse,
        Distribution.SEGMENTAL: stretched * pointing,
        Distribution.REGIONAL: wide - diffuse - stretched,
        None: stretched * (1.0 - pointing),
    }


def distribution_of(distributions: Mapping[Distribution | None, float]) -> Distribution | None:
    """Return the distribution to state: the likeliest where it is clear, else none."""
    likeliest = max(distributions, key=distributions.__getitem__)
    return likeliest if distributions[likeliest] >= CLEAR else None


def _below(value: float, limit: float, margin: float) -> float:
    """Return how surely a value lies below a limit: 0.5 on it, logistic with a margin."""
    return 1.0 / (1.0 + math.exp(min(max((value - limit) / margin, -60.0), 60.0)))


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
