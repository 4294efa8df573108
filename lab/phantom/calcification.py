"""The shape of one calcification, drawn as millimetres of calcium on a grid four times finer than the pixels."""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.random import Generator
from scipy import ndimage

from lab.phantom.fields import Field

LARGE_MM = 1.2
"""From this diameter on, calcium is uneven enough to see."""
FINER = 4
"""Grid elements per pixel, in rows and columns."""


class ShapeKind(StrEnum):
    """The ways in which a calcification is drawn."""

    BLOB = "blob"
    ROD = "rod"
    RING = "ring"
    CUP = "cup"
    """Milk of calcium: a smudge from above, a half disc from the side."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """One calcification. `diameter_mm` of a rod is its width, and `length_mm` is used by rods alone.

    `elongation`: long over short axis. `roughness`: of the outline. `haze`: blur as a share of the radius.
    `density`: 1 is solid calcium. `flatness`: thickness over width. `wall_mm`: of rings.
    """

    kind: ShapeKind = ShapeKind.BLOB
    diameter_mm: float
    length_mm: float = 0.0
    elongation: float = 1.0
    roughness: float = 0.0
    lobes: int = 1
    haze: float = 0.0
    density: float = 1.0
    flatness: float = 1.0
    wall_mm: float = 0.0
    bend: float = 0.0

    @property
    def equivalent_mm(self) -> float:
        """The diameter of a disc of about the same area."""
        if self.kind is ShapeKind.ROD:
            return float(np.sqrt(self.length_mm * self.diameter_mm))
        return self.diameter_mm


def draw_shape(
    shape: Shape, angle: float, spacing_mm: float, rng: Generator, *, from_above: bool = True
) -> Field:
    """Return mm of calcium on the finer grid, the centre of the shape in the middle.

    `angle`: of the long axis, from the columns' direction towards the rows', in radians.
    """
    pitch = spacing_mm / FINER
    if shape.kind is ShapeKind.ROD:
        return _rod(shape, angle, pitch, rng)
    if shape.kind is ShapeKind.RING:
        return _ring(shape, pitch, rng)
    drawn = _blob(shape, angle, pitch, rng)
    if shape.kind is ShapeKind.CUP:
        if from_above:
            return ndimage.gaussian_filter(drawn, 0.5 * shape.diameter_mm / 2 / pitch) * np.float32(0.45)
        drawn[: drawn.shape[0] // 2] = 0
    return drawn


def _grid(reach_mm: float, pitch: float) -> tuple[Field, Field]:
    """Return (down, across) in mm from the middle of a square grid that reaches as far as asked."""
    half = int(np.ceil(reach_mm / pitch)) + 3
    line = np.arange(-half, half + 1, dtype=np.float32) * np.float32(pitch)
    return line[:, None], line[None]


def _outline(angle: Field, roughness: float, rng: Generator) -> Field:
    """Return the relative radius of a rough outline in each direction."""
    radius = np.ones_like(angle)
    for wave in range(2, 8):
        radius += (
            1.2 * roughness * rng.normal() / wave**1.1 * np.cos(wave * angle + rng.uniform(0, 2 * np.pi))
        )
    return np.clip(radius, 0.35, 1.8).astype(np.float32)


def _blob(shape: Shape, angle: float, pitch: float, rng: Generator) -> Field:
    """Return one or several rough, elongated lobes that overlap."""
    radius = shape.diameter_mm / 2
    down, across = _grid(
        radius * max(shape.elongation, 1.0) ** 0.5 * (1.4 if shape.lobes == 1 else 2.2), pitch
    )
    thickness = np.zeros((down.size, across.size), np.float32)
    stretch = np.float32(max(shape.elongation, 1e-3) ** 0.5)
    for lobe in range(shape.lobes):
        first = lobe == 0
        shift = (0.0, 0.0) if first else tuple(rng.normal(0, radius * 0.5, 2))
        own = radius * (1 if first else rng.uniform(0.35, 0.85))
        turn = angle if first else angle + rng.normal() * 0.8
        along = ((across - shift[1]) * np.cos(turn) + (down - shift[0]) * np.sin(turn)) / stretch
        aside = ((down - shift[0]) * np.cos(turn) - (across - shift[1]) * np.sin(turn)) * stretch
        rim = own * _outline(np.arctan2(aside, along), shape.roughness, rng)
        inside = np.clip(1 - (along**2 + aside**2) / rim**2, 0, 1)
        np.maximum(
            thickness, (np.sqrt(inside) * (2 * own * shape.flatness)).astype(np.float32), out=thickness
        )
    if shape.diameter_mm > LARGE_MM:
        thickness *= _mottle(thickness.shape, max(0.05 * shape.diameter_mm, 0.2) / pitch, rng)
    if shape.haze > 0:
        thickness = ndimage.gaussian_filter(thickness, shape.haze * radius / pitch)
    return thickness * np.float32(shape.density)


def _mottle(sides: tuple[int, int], grain: float, rng: Generator) -> Field:
    """Return the uneven calcium inside a large calcification, 0.4 to 1.6; `grain` in grid elements."""
    step = max(int(grain / 2), 1)
    coarse = rng.standard_normal((sides[0] // step + 2, sides[1] // step + 2))
    soft = ndimage.gaussian_filter(coarse, grain / step)
    fine = ndimage.zoom(soft / soft.std(), step, order=1)[: sides[0], : sides[1]]
    return np.clip(1 + 0.3 * fine, 0.4, 1.6).astype(np.float32)


def _ring(shape: Shape, pitch: float, rng: Generator) -> Field:
    """Return an eggshell: a wall of changing strength around a thin centre."""
    radius = shape.diameter_mm / 2
    down, across = _grid(radius * 1.35, pitch)
    angle = np.arctan2(down, across).astype(np.float32)
    distance = np.hypot(down, across) / _outline(angle, shape.roughness, rng)
    strength = (
        1
        + 0.5 * np.cos(rng.integers(1, 4) * angle + rng.uniform(0, 6))
        + 0.3 * np.cos(rng.integers(4, 9) * angle + rng.uniform(0, 6))
    )
    middle = radius - shape.wall_mm / 2
    wall = np.exp(-(((distance - middle) / (shape.wall_mm * 0.6)) ** 2))
    shell = shape.wall_mm * 2.2 * wall * np.clip(strength, 0.15, 2)
    dome = np.sqrt(np.clip(1 - (distance / radius) ** 2, 0, 1))
    faces = shape.wall_mm * 0.35 * (distance < radius - shape.wall_mm / 2) * dome
    return ((shell + faces) * shape.density).astype(np.float32)


def _rod(shape: Shape, angle: float, pitch: float, rng: Generator) -> Field:
    """Return a bent rod with tapering ends; a rough one looks like a cast of a duct."""
    length, width = shape.length_mm, shape.diameter_mm
    down, across = _grid(length / 2 + width, pitch)
    along = across * np.cos(angle) + down * np.sin(angle)
    aside = down * np.cos(angle) - across * np.sin(angle) - shape.bend * (along * along / length)
    half = width / 2 * np.clip(1 - 0.35 * (2 * along / length) ** 2, 0.2, 1)
    if shape.roughness > 0:
        wave = ndimage.gaussian_filter1d(rng.standard_normal(257), rng.uniform(4, 9))
        wave /= wave.std()
        place = np.clip(along / length * 256 + 128, 0, 256)
        half = half * np.clip(1 + shape.roughness * np.interp(place, np.arange(257), wave), 0.15, 2)
    ends = np.sqrt(np.clip((length / 2 - np.abs(along)) / (width * 0.5), 0, 1))
    bore = 2 * np.sqrt(np.clip(half * half - aside * aside, 0, None)) * ends
    return (bore * shape.flatness * shape.density).astype(np.float32)
