"""A scene as if it had been resampled on its way, as workstations and archives do: other pitch, correlated noise."""

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from lab.phantom.truth import MACRO_STEP, Scene
from mammography.coordinates import ImagePoint

MULTIPLE = 8
"""Sides of the result are multiples of this, as those of a lesson's scene have to be."""


def resampled(scene: Scene, factor: float) -> Scene:
    """Return a scene with `factor` times as many pixels per mm, interpolated; its truth goes along.

    The outer corner stays where it is. What a speck's d' would be after interpolation is not asked: it stays.
    """
    rows, columns = (int(side * factor) // MULTIPLE * MULTIPLE for side in scene.pixels.shape)

    def moved(point: ImagePoint) -> ImagePoint:
        return ImagePoint(point.column * factor, point.row * factor)

    inside = [speck for speck in scene.specks if _within(moved(speck.center), rows, columns)]
    return replace(
        scene,
        pixels=_interpolated(scene.pixels, factor, rows, columns, 4095),
        raw=_interpolated(scene.raw, factor, rows, columns, 16383),
        spacing_mm=scene.spacing_mm / factor,
        specks=tuple(replace(speck, center=moved(speck.center)) for speck in inside),
        large=_nearest(scene.large, factor, rows, columns),
        breast=_nearest(scene.breast, factor, rows, columns),
        distractors=tuple(
            replace(thing, center=moved(thing.center))
            for thing in scene.distractors
            if _within(moved(thing.center), rows, columns)
        ),
        nipple=moved(scene.nipple),
    )


def _within(point: ImagePoint, rows: int, columns: int) -> bool:
    """Return whether a point lies on the image."""
    return 0 <= point.row < rows and 0 <= point.column < columns


def _interpolated(
    pixels: NDArray[np.uint16], factor: float, rows: int, columns: int, highest: int
) -> NDArray[np.uint16]:
    """Return the pixels at another pitch: bicubic, area-weighted where there are fewer of them."""
    picture = functional.interpolate(
        torch.from_numpy(pixels.astype(np.float32))[None, None],
        scale_factor=factor,
        mode="bicubic",
        antialias=True,
        recompute_scale_factor=False,
    )
    cut = picture[0, 0, :rows, :columns].numpy()
    return np.clip(np.rint(cut), 0, highest).astype(np.uint16)


def _nearest(map_: NDArray[Any], factor: float, rows: int, columns: int) -> NDArray[Any]:
    """Return a map of MACRO_STEP pixels an element at another pitch."""
    down, across = (
        np.minimum(((np.arange(-(-side // MACRO_STEP)) + 0.5) / factor).astype(int), most - 1)
        for side, most in zip((rows, columns), map_.shape, strict=True)
    )
    return map_[np.ix_(down, across)]
