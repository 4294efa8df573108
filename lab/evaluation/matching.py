"""Which mark belongs to which calcification: one rule for training, thresholds and measurement."""

from collections import Counter
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import cKDTree

from lab.phantom.truth import LARGE, MACRO_STEP, Scene, TruthGroup
from mammography.coordinates import Grid, ImagePoint
from mammography.reader.clustering import SQUARE_CENTIMETRE_RADIUS_MM
from mammography.reader.detection import Points

VISIBLE_D_PRIME = 5.0
"""Specks at least this visible are to be found; fainter ones are neither asked for nor punished."""
FEWEST_SPECKS = 3
MACRO_MARGIN = 3
"""Elements of the macro mask around a large calcification in which a mark is forgiven."""
NOBODY = -1
FEWEST_HITS, SMALLEST_SHARE = 2, 0.25
"""A cluster of marks is a lesion's when at least two marks, and a quarter of all, hit its specks."""


class Verdict(StrEnum):
    """What a cluster of marks is, beside the truth."""

    LESION = "lesion"
    FALSE = "false"
    NEITHER = "neither"
    """On large calcifications, singles or specks too faint to ask for."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Matching:
    """What each mark hit, and how well each visible speck was hit.

    `hit`: per mark, whether it lies on a speck; `group`: the number of that speck's group, -1 for a single.
    `forgiven`: per mark, whether it lies on something not asked for. `best`: per asked speck, the highest
    score of a mark on it, 0 without one; `asked_d_prime` its visibility.
    """

    group: NDArray[np.int64]
    hit: NDArray[np.bool_]
    forgiven: NDArray[np.bool_]
    best: NDArray[np.float64]
    asked_d_prime: NDArray[np.float64]


def stored_places(points: Points, grid: Grid) -> NDArray[np.float64]:
    """Return [points, 2] of column, row on the stored image."""
    places = [grid.to_image(column, row) for column, row in zip(points.columns, points.rows, strict=True)]
    return np.array(places, dtype=np.float64).reshape(-1, 2)


def match(scene: Scene, points: Points, places: NDArray[np.float64]) -> Matching:
    """Return what a reader's points hit in a scene; they lie at `places` (column, row, stored pixels)."""
    return match_marks(scene, points.scores, places)


def match_marks(scene: Scene, scores: NDArray[np.float64], places: NDArray[np.float64]) -> Matching:
    """Return what marks with some scores hit in a scene; they lie at `places` (column, row, stored pixels)."""
    large = {group.number for group in scene.groups if group.morphology in LARGE}
    group = np.full(len(places), NOBODY, dtype=np.int64)
    hit, forgiven = np.zeros(len(places), dtype=np.bool_), _on_macro(scene, places)
    tree = cKDTree(places) if len(places) else None
    best, visible = [], []
    for speck in scene.specks:
        reach = max(0.45, speck.diameter_mm / 2 + 0.25) / scene.spacing_mm
        near = np.array(tree.query_ball_point(speck.center, reach) if tree else [], dtype=np.intp)
        if speck.group in large:
            forgiven[near] = True
            continue
        hit[near], group[near] = True, speck.group
        if speck.d_prime >= VISIBLE_D_PRIME:
            best.append(float(scores[near].max()) if len(near) else 0.0)
            visible.append(speck.d_prime)
    return Matching(
        group=group, hit=hit, forgiven=forgiven & ~hit, best=np.array(best), asked_d_prime=np.array(visible)
    )


def visibility_of(scene: Scene, group: TruthGroup) -> float:
    """Return the highest d' that three specks of a lesion within one square centimetre reach; 0 without three."""
    specks = [speck for speck in scene.specks if speck.group == group.number]
    if len(specks) < FEWEST_SPECKS:
        return 0.0
    places, d_prime = np.array([s.center for s in specks]), np.array([s.d_prime for s in specks])
    near = cKDTree(places).query_ball_point(places, SQUARE_CENTIMETRE_RADIUS_MM / scene.spacing_mm)
    third = [
        min(own, float(np.sort(d_prime[crowd])[-FEWEST_SPECKS]))
        for own, crowd in zip(d_prime, near, strict=True)
        if len(crowd) >= FEWEST_SPECKS
    ]
    return float(max(third, default=0.0))


def groups_asked_for(scene: Scene) -> list[TruthGroup]:
    """Return the lesions that a reader should mark: three visible specks within one square centimetre."""
    return [
        group
        for group in scene.groups
        if group.morphology not in LARGE and visibility_of(scene, group) >= VISIBLE_D_PRIME
    ]


def judge(matching: Matching, members: NDArray[np.intp]) -> tuple[Verdict, list[int]]:
    """Return what a cluster of marks is, and the numbers of the lesions it found."""
    hits, forgiven = matching.hit[members], matching.forgiven[members]
    counts = Counter(int(number) for number in matching.group[members][hits])
    found = [number for number, count in counts.items() if number >= 0 and count >= FEWEST_HITS]
    if found and hits.mean() >= SMALLEST_SHARE:
        return Verdict.LESION, found
    neither = hits.sum() + forgiven.sum() >= max(FEWEST_HITS, len(members) / 2)
    return (Verdict.NEITHER if neither else Verdict.FALSE), []


def on_large(scene: Scene, place: ImagePoint) -> bool:
    """Return whether a large calcification lies under a place or beside it."""
    return bool(_on_macro(scene, np.array([place]))[0])


def _on_macro(scene: Scene, places: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return, per place, whether a large calcification lies under it or beside it."""
    near = ndimage.binary_dilation(scene.macro, iterations=MACRO_MARGIN) if scene.macro.any() else scene.macro
    rows = np.clip((places[:, 1] / MACRO_STEP).astype(int), 0, near.shape[0] - 1)
    columns = np.clip((places[:, 0] / MACRO_STEP).astype(int), 0, near.shape[1] - 1)
    return np.asarray(near[rows, columns], dtype=np.bool_)
