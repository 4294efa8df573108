r"""Points on an image, and the only arithmetic between the reader's grid and the stored pixels.

Coordinates are the standard's (PS3.3 C.18.6, C.10.5): column then row, continuous, 0.0\0.0 at the outer
corner of the stored matrix's top left pixel; the centre of the pixel [r, c] is (c + 0.5, r + 0.5).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple


class ImagePoint(NamedTuple):
    """A point on the stored pixel matrix, in pixels: column then row (PS3.3 C.18.6)."""

    column: float
    row: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """Where an array that the reader looks at lies on the stored image.

    The array is a crop of the stored matrix, perhaps mirrored left to right, then resampled by `scale`.
    `column_offset`, `row_offset`: the crop's top left outer corner on the stored image, in stored pixels.
    `columns`: the crop's width in stored pixels. `scale`: reader pixels per stored pixel.
    """

    column_offset: float = 0.0
    row_offset: float = 0.0
    columns: int
    mirrored: bool = False
    scale: float = 1.0

    def to_image(self, column: float, row: float) -> ImagePoint:
        """Return the point of the stored image under a point of the reader's array (outer corner 0.0, 0.0)."""
        across = column / self.scale
        if self.mirrored:
            across = self.columns - across
        return ImagePoint(self.column_offset + across, self.row_offset + row / self.scale)

    def from_image(self, point: ImagePoint) -> tuple[float, float]:
        """Return (column, row) on the reader's array of a point of the stored image; undoes `to_image`."""
        across = point.column - self.column_offset
        if self.mirrored:
            across = self.columns - across
        return across * self.scale, (point.row - self.row_offset) * self.scale


def inside(point: ImagePoint, polygon: Sequence[ImagePoint]) -> bool:
    """Return whether a point lies inside a polygon (even-odd rule); the last vertex joins the first."""
    hit = False
    for a, b in zip(polygon, [*polygon[1:], *polygon[:1]], strict=True):
        if (a.row > point.row) != (b.row > point.row):
            crossing = a.column + (point.row - a.row) / (b.row - a.row) * (b.column - a.column)
            hit ^= point.column < crossing
    return hit
