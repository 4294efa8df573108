"""What a viewer shows as a picture: where its squares put the image on the screen, and whether marks lie there."""

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from scipy import ndimage

from tests.viewers.shown_study import Outline

SMALLEST, LARGEST = 8, 80
"""Sides of the white squares on a screen, in its pixels."""
COVERED = 0.97
"""The share of an outline's points beside which a mark has to be drawn."""


class Hung(NamedTuple):
    """How an image lies on the screen: screen = scale * image + offset, in pixels; never turned, never mirrored."""

    scale: float
    column: float
    row: float

    def on_screen(self, points: np.ndarray) -> np.ndarray:
        """Return points of the image, one a row, as points of the screen."""
        return points * self.scale + (self.column, self.row)


def hung(picture: np.ndarray, squares: Sequence[tuple[int, int]]) -> Hung:
    """Return how an image with these squares lies in a picture of the screen (rows x columns x RGB)."""
    seen = squares_in(picture)
    assert len(seen) == len(squares), f"{len(seen)} squares are seen: {seen}"
    upper, lower = sorted(seen, key=lambda middle: middle[1])[:2], sorted(seen, key=lambda m: m[1])[2:]
    found = np.array([*sorted(upper), *sorted(lower)], float)
    placed = np.array(squares, float)
    scale = float(np.mean(np.ptp(found, axis=0) / np.ptp(placed, axis=0)))
    column, row = found.mean(axis=0) - scale * placed.mean(axis=0)
    place = Hung(scale, float(column), float(row))
    left_over = np.abs(place.on_screen(placed) - found).max()
    assert left_over <= 1.5, f"The squares lie {left_over:.1f} pixels off: the image is turned or stretched."
    return place


def squares_in(picture: np.ndarray) -> list[tuple[float, float]]:
    """Return the middles of the white squares in a picture of the screen (rows x columns x RGB)."""
    labels, _ = ndimage.label(picture.min(axis=2) > 240)
    middles = []
    for number, (rows, columns) in enumerate(ndimage.find_objects(labels), start=1):
        height, width = rows.stop - rows.start, columns.stop - columns.start
        whole = (labels[rows, columns] == number).mean() > 0.9
        if SMALLEST <= height <= LARGEST and abs(height - width) <= 2 and whole:
            middles.append(((columns.start + columns.stop) / 2, (rows.start + rows.stop) / 2))
    return middles


def complaints(
    marks: np.ndarray, place: Hung, outlines: Sequence[Outline], *, tolerance: float, filled: bool = False
) -> list[str]:
    """Return what is wrong with drawn marks (a mask of the screen): outlines that lack, and strokes elsewhere.

    `tolerance`: how many screen pixels a stroke may lie off. `filled`: strokes are allowed within an outline's box too,
    for a viewer that draws single calcifications.
    """
    expected = np.zeros(marks.shape, bool)
    for outline in outlines:
        path = place.on_screen(_along(outline))
        rows, columns = _pixels_under(path)
        expected[rows, columns] = True
        if filled:
            expected[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1] = True
    far = ndimage.distance_transform_cdt(~expected, "chessboard") > tolerance
    strays = marks & far if expected.any() else marks
    said = lacking(marks, place, outlines, tolerance=tolerance)
    return [*said, f"{strays.sum()} pixels of marks lie where nothing was found."] if strays.any() else said


def lacking(marks: np.ndarray, place: Hung, outlines: Sequence[Outline], *, tolerance: float) -> list[str]:
    """Return which outlines are not drawn within a tolerance in screen pixels."""
    if not marks.any():
        return [f"Outline {number} is not drawn." for number, _ in enumerate(outlines, start=1)]
    reach = ndimage.distance_transform_cdt(~marks, "chessboard")
    covered = [
        float((reach[_pixels_under(place.on_screen(_along(outline)))] <= tolerance).mean())
        for outline in outlines
    ]
    return [
        f"Outline {number}: strokes lie beside {100 * share:.0f} % of it."
        for number, share in enumerate(covered, start=1)
        if share < COVERED
    ]


def _pixels_under(path: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows and columns of the pixels under points of the screen."""
    columns, rows = np.floor(path).astype(int).T
    return rows, columns


def _along(outline: Outline) -> np.ndarray:
    """Return points every pixel along a closed outline."""
    closed = np.array([*outline, outline[0]], float)
    parts = [
        start
        + (end - start) * np.linspace(0, 1, max(2, int(np.hypot(*(end - start)))), endpoint=False)[:, None]
        for start, end in pairwise(closed)
    ]
    return np.concatenate(parts)
