"""Crops of lessons, chosen so that calcifications, traps, and what the network mistook are all seen often."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from lab.training.lesson import NO_MORPHOLOGY, NOTHING_LARGE, VISIBLE_D_PRIME, Lesson
from mammography.reader.network import CELL, COARSE_CELL

CROP = 256
"""Side of a crop in reader pixels."""


class Batch(NamedTuple):
    """Crops and their targets, each [crops, channels, height, width] (`Lesson` has the meaning of each)."""

    image: Tensor
    heat: Tensor
    weight: Tensor
    size: Tensor
    large: Tensor
    morphology: Tensor
    bag: Tensor


class Choice(NamedTuple):
    """How often a crop is centred on what; the rest lies anywhere in the breast."""

    speck: float = 0.55
    distractor: float = 0.06
    mistake: float = 0.25
    data: float = 0.5
    """Of all crops, where there are lessons of data sets: their share."""


USUAL_CHOICE = Choice()
_NONE: Mapping[Path, Lesson] = {}


def draw_batch(
    lessons: Mapping[Path, Lesson],
    mistakes: Mapping[Path, NDArray[np.float32]],
    *,
    crops: int,
    rng: Generator,
    choice: Choice = USUAL_CHOICE,
    data: Mapping[Path, Lesson] = _NONE,
) -> Batch:
    """Return random crops of random lessons, turned, mirrored, and varied in grey values and noise.

    `data`: lessons of data sets, mixed in as `choice` says.
    """
    sources = [
        (source, list(source), [path for path in mistakes if len(mistakes[path]) and path in source])
        for source in (lessons, data)
    ]
    drawn = []
    for _ in range(crops):
        source, paths, with_mistakes = sources[1 if data and rng.random() < choice.data else 0]
        if with_mistakes and rng.random() < choice.mistake:
            path = with_mistakes[int(rng.integers(len(with_mistakes)))]
            lesson = source[path]
            center = _near(mistakes[path], rng)
        else:
            path = paths[int(rng.integers(len(paths)))]
            lesson = source[path]
            center = _center(lesson, rng, choice)
        drawn.append(_crop(lesson, center, rng))
    return Batch(*(torch.from_numpy(np.stack(maps)) for maps in zip(*drawn, strict=True)))


def _center(lesson: Lesson, rng: Generator, choice: Choice) -> tuple[float, float]:
    """Return (row, column) of the crop's middle: near a visible speck, at a region, near a trap, or anywhere in the breast."""
    dice = rng.random()
    visible = lesson.specks[lesson.specks[:, 3] >= VISIBLE_D_PRIME]
    if dice < choice.speck and len(visible):
        numbers = np.unique(visible[:, 4])  # every group is as likely, however many specks it has
        chosen = visible[visible[:, 4] == rng.choice(numbers)]
        return _near(chosen[:, :2], rng)
    if dice < choice.speck and lesson.bag.any():
        return _at_a_region(lesson.bag, rng)
    if dice < choice.speck + choice.distractor and len(lesson.distractors):
        return _near(lesson.distractors, rng)
    rows, columns = np.nonzero(lesson.breast)
    place = int(rng.integers(len(rows)))
    return rows[place] * 8.0, columns[place] * 8.0


def _at_a_region(bag: NDArray[np.int16], rng: Generator) -> tuple[float, float]:
    """Return a place near the middle of one of the regions with calcifications, so that a crop can hold all of it."""
    number = rng.choice(np.unique(bag[bag > 0]))
    row, column = (
        COARSE_CELL * float(cells.min() + cells.max() + 1) / 2 for cells in np.nonzero(bag == number)
    )
    return row + rng.uniform(-30, 30), column + rng.uniform(-30, 30)


def _near(points: NDArray[np.float32], rng: Generator) -> tuple[float, float]:
    """Return a place within a third of a crop of one of the points."""
    row, column = points[int(rng.integers(len(points)))][:2]
    return float(row) + rng.uniform(-90, 90), float(column) + rng.uniform(-90, 90)


def _crop(lesson: Lesson, center: tuple[float, float], rng: Generator) -> list[NDArray[np.float32]]:
    """Return one crop's image and targets."""
    top, left = (
        int(np.clip(middle - CROP / 2, 0, max(side - CROP, 0))) // COARSE_CELL * COARSE_CELL
        for middle, side in zip(center, lesson.image.shape[1:], strict=True)
    )
    maps = [
        _cut(lesson.image, top, left, 1),
        _cut(lesson.heat[None], top, left, CELL),
        _cut(lesson.weight[None], top, left, CELL),
        _cut(lesson.size[None], top, left, CELL, outside=np.nan),
        _cut(lesson.large[None], top, left, COARSE_CELL, outside=NOTHING_LARGE),
        _cut(lesson.morphology[None], top, left, COARSE_CELL, outside=NO_MORPHOLOGY),
        _cut(lesson.bag[None], top, left, COARSE_CELL),
    ]
    maps[0] = _varied(maps[0], rng)
    turns, mirrored = int(rng.integers(4)), rng.random() < 0.5
    turned = [np.rot90(map_, turns, (1, 2)) for map_ in maps]
    return [np.ascontiguousarray(map_[..., ::-1] if mirrored else map_) for map_ in turned]


def _cut(
    map_: NDArray[np.generic], top: int, left: int, cell: int, *, outside: float = 0.0
) -> NDArray[np.float32]:
    """Return the crop of one map as float32, filled where the lesson is smaller than a crop."""
    side = CROP // cell
    part = map_[:, top // cell : top // cell + side, left // cell : left // cell + side]
    whole = np.full((map_.shape[0], side, side), outside, dtype=np.float32)
    whole[:, : part.shape[1], : part.shape[2]] = part
    return whole


def _varied(image: NDArray[np.float32], rng: Generator) -> NDArray[np.float32]:
    """Return the two channels as another vendor would have made them: tone, gain, sharpness, noise, saturation."""
    value = (image[0] + 1) / 2
    high_pass = image[1]
    if rng.random() < 0.5:
        value, high_pass = _resharpened(value, high_pass, rng)
    value = np.clip(value, 0.0, 1.3) ** np.float32(np.exp(rng.normal(0, 0.35)))
    value = (value - rng.uniform(-0.08, 0.08)) * rng.uniform(0.85, 1.2)
    high_pass = high_pass * np.float32(np.exp(rng.normal(0, 0.2)))
    if rng.random() < 0.4:
        noise = rng.standard_normal(high_pass.shape, dtype=np.float32)
        noise = ndimage.gaussian_filter(noise, rng.uniform(0, 1.1))
        high_pass = high_pass + noise * np.float32(rng.uniform(0, 0.2) / noise.std())
    if rng.random() < 0.15:  # a display curve that runs full
        value = np.minimum(value, np.float32(np.quantile(value, rng.uniform(0.9, 1.0))))
    return np.stack([value * 2 - 1, high_pass]).astype(np.float32)


def _resharpened(
    value: NDArray[np.float32], high_pass: NDArray[np.float32], rng: Generator
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return both channels blurred or sharpened; the high-pass keeps its mean magnitude, as equalisation does."""
    sigma, gain = rng.uniform(0.4, 1.0), rng.uniform(-0.9, 1.2)
    before = float(np.abs(high_pass).mean())
    value, high_pass = (
        (channel + np.float32(gain) * (channel - ndimage.gaussian_filter(channel, sigma))).astype(np.float32)
        for channel in (value, high_pass)
    )
    return value, high_pass * np.float32(before / max(float(np.abs(high_pass).mean()), 1e-6))
