"""A lesson of a whole image, cut into lessons the size of those from the phantom."""

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np

from lab.training.lesson import Lesson

ROWS, COLUMNS = 1152, 896
"""Of the largest window, in reader pixels."""
MULTIPLE = 32
"""Sides of windows are multiples of this, as those of a prepared image are."""
SMALLEST_SHARE = 0.15
"""A window with less breast than this in it, and nothing marked, is not worth its file."""
_PLACES = ("specks", "distractors")
"""Fields of (row, column, ...) in reader pixels; the others are maps of the image, or one value for all of it."""


def windows_of(lesson: Lesson) -> Iterator[Lesson]:
    """Yield windows of even size side by side over a whole lesson, from the top left on, without gap or overlap.

    Maps are cut at their own scale; places are counted from the window's corner.
    """
    height, width = lesson.image.shape[-2:]
    for top, bottom in _spans(height, ROWS):
        for left, right in _spans(width, COLUMNS):
            window = _cut(lesson, top, left, bottom, right)
            if len(window.specks) or window.breast.mean() >= SMALLEST_SHARE:
                yield window


def _spans(length: int, longest: int) -> Iterator[tuple[int, int]]:
    """Yield (start, end) of as few spans as cover a length, none longer than `longest`, all multiples of MULTIPLE."""
    count = -(-length // longest)
    step = -(-length // count // MULTIPLE) * MULTIPLE
    for start in range(0, length, step):
        yield start, min(start + step, length)


def _cut(lesson: Lesson, top: int, left: int, bottom: int, right: int) -> Lesson:
    """Return the part of a lesson from (top, left) to before (bottom, right), in reader pixels."""
    height = lesson.image.shape[-2]
    changed: dict[str, Any] = {}
    for field in dataclasses.fields(lesson):
        value = getattr(lesson, field.name)
        if field.name in _PLACES:
            changed[field.name] = _shifted(value, top, left, bottom, right)
        elif isinstance(value, np.ndarray) and value.ndim >= 2 and field.name != "groups":
            step = round(height / value.shape[-2])
            changed[field.name] = value[
                ..., top // step : -(-bottom // step), left // step : -(-right // step)
            ].copy()
    return dataclasses.replace(lesson, **changed)


def _shifted(
    places: np.ndarray[Any, Any], top: int, left: int, bottom: int, right: int
) -> np.ndarray[Any, Any]:
    """Return the places inside a window, counted from its corner."""
    rows, columns = places[:, 0], places[:, 1]
    inside = (rows >= top) & (rows < bottom) & (columns >= left) & (columns < right)
    moved = places[inside].copy()
    moved[:, :2] -= (top, left)
    return moved
