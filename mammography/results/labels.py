"""Where words stand on an image: beside their outline, inside the image."""

from typing import NamedTuple

from mammography.results.marks import AnsweredImage, Mark

_LINES_PER_IMAGE = 60
"""A label is this part of the image's rows high: about 4 mm on a mammogram."""
_CHARACTER = 0.62
"""Width of a character as part of its height, generous: a viewer chooses its own font."""


class Box(NamedTuple):
    """A box on the stored matrix, in pixels; left and top are its first corner."""

    left: float
    top: float
    right: float
    bottom: float


def label_box(image: AnsweredImage, mark: Mark) -> Box:
    """Return where a mark's label stands: right of its outline, or left of it where the image ends."""
    rows, columns = int(image.header.Rows), int(image.header.Columns)
    height, width = _size(mark.label, rows, columns)
    gap = height / 4
    across = [point.column for point in mark.outline]
    down = [point.row for point in mark.outline]
    left = max(across) + gap
    if left + width > columns:
        left = max(min(across) - gap - width, 0.0)
    top = min(max(min(down) - gap, 0.0), rows - height)
    return Box(left, top, left + width, top + height)


def notice_box(image: AnsweredImage, words: str) -> Box:
    """Return where the technical words stand: at the image's foot, away from the chest wall where that is known."""
    rows, columns = int(image.header.Rows), int(image.header.Columns)
    height, width = _size(words, rows, columns)
    gap = min(height / 2, (columns - width) / 2)
    orientation = str((image.header.get("PatientOrientation") or ["A"])[0])
    left = gap if orientation.startswith("P") else columns - width - gap
    return Box(left, rows - 1.5 * height, left + width, rows - 0.5 * height)


def _size(words: str, rows: int, columns: int) -> tuple[float, float]:
    """Return height and width of words in one line, never wider than the image."""
    height = rows / _LINES_PER_IMAGE
    return height, min(len(words) * height * _CHARACTER, float(columns))
