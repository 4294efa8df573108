"""Contact sheets: what was drawn, side by side, for the eye to judge."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lab.phantom.truth import Scene

TILE_MM = 0.56
"""Millimetres of the breast per pixel of a sheet."""
ACROSS = 4


def shown(scene: Scene) -> NDArray[np.uint8]:
    """Return a scene in its own window, one pixel per TILE_MM."""
    low = scene.window_center - scene.window_width / 2
    grey = np.clip((scene.pixels.astype(np.float32) - low) / scene.window_width, 0, 1) * 255
    step = max(round(TILE_MM / scene.spacing_mm), 1)
    rows, columns = (side // step for side in grey.shape)
    blocks = grey[: rows * step, : columns * step].reshape(rows, step, columns, step)
    return np.asarray(blocks.mean(axis=(1, 3)), dtype=np.uint8)


def write_sheet(scenes: Sequence[NDArray[np.uint8]], path: Path) -> None:
    """Write shown scenes to a picture file, four in a row."""
    height, width = (max(tile.shape[axis] for tile in scenes) + 2 for axis in (0, 1))
    sheet = np.zeros((-(-len(scenes) // ACROSS) * height, min(len(scenes), ACROSS) * width), np.uint8)
    for number, tile in enumerate(scenes):
        top, left = number // ACROSS * height, number % ACROSS * width
        sheet[top : top + tile.shape[0], left : left + tile.shape[1]] = tile
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(sheet).save(path)
