"""What looks bright on a mammogram and is no calcification: the traps that a reader must not fall into.

Each function draws into the fields of the chain where the thing acts: metal and tissue before the detector, dust and
lead letters after it. Points are (row, column) in pixels of the window.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.random import Generator

from lab.phantom.anatomy import Anatomy
from lab.phantom.calcification import FINER, Shape, ShapeKind, draw_shape
from lab.phantom.fields import Field, shrink, smooth_step
from lab.phantom.placement import add_to, choose_site

_STROKES = {
    "R": ("11110", "10001", "10001", "11110", "10100", "10010", "10001"),
    "L": ("10000", "10000", "10000", "10000", "10000", "10000", "11111"),
    "C": ("01111", "10000", "10000", "10000", "10000", "10000", "01111"),
    "M": ("10001", "11011", "10101", "10101", "10001", "10001", "10001"),
    "O": ("01110", "10001", "10001", "10001", "10001", "10001", "01110"),
}
LETTER_PX = 8


@dataclass(slots=True, kw_only=True)
class Traps:
    """The traps of one scene: `metal` in mm [rows], `line` an additional line integral [rows / 2]."""

    metal: Field
    line: Field
    found: list[tuple[str, float, float]] = field(default_factory=list)


def draw_traps(anatomy: Anatomy, gland: Field, rng: Generator) -> Traps:
    """Return the traps that lie before the detector, drawn as often as a busy clinic meets them, or oftener."""
    window = anatomy.window
    traps = Traps(
        metal=np.zeros((window.rows, window.columns), np.float32),
        line=np.zeros((window.rows // 2, window.columns // 2), np.float32),
    )
    if rng.random() < 0.15:
        _metal(traps, anatomy, "bb", Shape(diameter_mm=rng.uniform(1.3, 2.2)), rng, at_nipple=True)
    if rng.random() < 0.08:
        kind = ShapeKind.ROD if rng.random() < 0.6 else ShapeKind.RING
        clip = Shape(
            kind=kind,
            diameter_mm=0.5 if kind is ShapeKind.ROD else 2.0,
            length_mm=2.6,
            wall_mm=0.3,
            density=1.0,
        )
        _metal(traps, anatomy, "clip", clip, rng, at_nipple=False, gland=gland)
    for _ in range(int(rng.poisson(1.2))):
        _crossing(traps, anatomy, gland, rng)
    if rng.random() < 0.10:
        _mole(traps, anatomy, gland, rng)
    if rng.random() < 0.25:
        _fold(traps, anatomy, rng)
    if anatomy.pectoral.any() and rng.random() < 0.4:
        _lymph_node(traps, anatomy, rng)
    return traps


def _metal(
    traps: Traps,
    anatomy: Anatomy,
    kind: str,
    shape: Shape,
    rng: Generator,
    *,
    at_nipple: bool,
    gland: Field | None = None,
) -> None:
    """Draw a piece of metal at the nipple or within the breast."""
    window = anatomy.window
    if at_nipple or gland is None:
        down = anatomy.nipple_down_mm + rng.normal() * 1.5
        across = anatomy.nipple_across_mm - anatomy.plan.nipple_mm - rng.uniform(-1, 2)
    else:
        site = choose_site(anatomy, gland, rng, margin_mm=10)
        down, across = site.down_mm, site.across_mm
    row, column = (down - window.top_mm) / window.spacing_mm, (across - window.left_mm) / window.spacing_mm
    if not (4 < row < window.rows - 12 and 4 < column < window.columns - 12):
        return
    patch = draw_shape(shape, rng.uniform(0, np.pi), window.spacing_mm, rng)
    side = patch.shape[0] // FINER * FINER
    pixels = shrink(patch[:side, :side], FINER)
    add_to(traps.metal, pixels, round(row - pixels.shape[0] / 2), round(column - pixels.shape[1] / 2), 2.0)
    traps.found.append((kind, row, column))


def _note(traps: Traps, anatomy: Anatomy, kind: str, down: float, across: float) -> None:
    """Remember a trap that lies within the window."""
    window = anatomy.window
    row, column = (down - window.top_mm) / window.spacing_mm, (across - window.left_mm) / window.spacing_mm
    if 0 <= row < window.rows and 0 <= column < window.columns:
        traps.found.append((kind, row, column))


def _crossing(traps: Traps, anatomy: Anatomy, gland: Field, rng: Generator) -> None:
    """Draw two to four thin fibres that cross: bright spots without calcium."""
    site = choose_site(anatomy, gland, rng)
    window = anatomy.window
    pitch = window.spacing_mm * 2
    half = int(14 / pitch)
    row = int((site.down_mm - window.top_mm) / pitch)
    column = int((site.across_mm - window.left_mm) / pitch)
    top, left = max(row - half, 0), max(column - half, 0)
    patch = traps.line[top : row + half, left : column + half]
    if patch.size == 0:
        return
    down = (np.arange(patch.shape[0])[:, None] + top - row) * np.float32(pitch)
    across = (np.arange(patch.shape[1])[None] + left - column) * np.float32(pitch)
    for _ in range(int(rng.integers(2, 5))):
        angle = rng.uniform(0, np.pi)
        along = across * np.cos(angle) + down * np.sin(angle)
        aside = down * np.cos(angle) - across * np.sin(angle) + rng.normal() * 0.3
        aside = aside + rng.normal() * 0.012 * along * along
        width = rng.uniform(0.12, 0.35)
        fade = np.exp(-((along / rng.uniform(4, 9)) ** 2))
        patch += (np.exp(-((aside / width) ** 2)) * fade * rng.uniform(0.008, 0.022)).astype(np.float32)
    _note(traps, anatomy, "crossing", site.down_mm, site.across_mm)


def _mole(traps: Traps, anatomy: Anatomy, gland: Field, rng: Generator) -> None:
    """Draw a mole of the skin: a faint disc with a bright rim and a dark halo of trapped air."""
    site = choose_site(anatomy, gland, rng)
    down, across = anatomy.window.centers(2)
    radius = rng.uniform(1.5, 4)
    distance = np.hypot(down - site.down_mm, across - site.across_mm)
    disc = smooth_step((radius - distance) / 0.4 + 0.5) * 0.03
    rim = np.exp(-(((distance - radius) / 0.35) ** 2)) * 0.03
    halo = np.exp(-(((distance - radius - 0.9) / 0.5) ** 2)) * -0.03
    traps.line += (disc + rim + halo).astype(np.float32)
    _note(traps, anatomy, "mole", site.down_mm, site.across_mm)


def _fold(traps: Traps, anatomy: Anatomy, rng: Generator) -> None:
    """Draw a fold of skin at the lower or upper border of the breast: a saturated wedge with sharp edges."""
    window = anatomy.window
    down, across = anatomy.window.centers(2)
    upper = rng.random() < 0.25
    reach = anatomy.plan.height * window.detector_height_mm * rng.uniform(0.75, 0.98)
    row = anatomy.nipple_down_mm + (-reach if upper else reach * 0.95)
    length = rng.uniform(15, 45) * window.detector_width_mm / 179
    angle = rng.uniform(-0.5, 0.2) * (-1 if upper else 1)
    along = across * np.cos(angle) + (down - row) * np.sin(angle)
    aside = (down - row) * np.cos(angle) - across * np.sin(angle) + rng.normal() * 0.01 * along**2
    width = rng.uniform(1.5, 5) * np.clip(1 - along / length, 0, 1)
    body = smooth_step((width - np.abs(aside)) / 0.3 + 0.5) * (width > 0.05)
    traps.line += (body * rng.uniform(0.15, 0.7)).astype(np.float32)
    _note(traps, anatomy, "fold", row, length / 3)


def _lymph_node(traps: Traps, anatomy: Anatomy, rng: Generator) -> None:
    """Draw a lymph node over the muscle: a dense bean with a fatty hilum."""
    window = anatomy.window
    down, across = anatomy.window.centers(2)
    row = rng.uniform(0.04, 0.3) * window.detector_height_mm
    column = rng.uniform(0.05, 0.3) * window.detector_width_mm
    angle = rng.uniform(0, np.pi)
    long = rng.uniform(4, 9) * window.detector_width_mm / 179
    along = (across - column) * np.cos(angle) + (down - row) * np.sin(angle)
    aside = (down - row) * np.cos(angle) - (across - column) * np.sin(angle)
    radius = np.hypot(along / long, aside / (long * rng.uniform(0.5, 0.8)))
    hilum = np.hypot((along - 0.2 * long) / long, (aside - 0.3 * long) / long)
    bean = smooth_step((1 - radius) * 3) - 0.7 * smooth_step((0.45 - hilum) * 3)
    traps.line += (np.clip(bean, 0, 1) * rng.uniform(0.05, 0.14)).astype(np.float32)
    _note(traps, anatomy, "lymph-node", row, column)


def draw_dead_pixels(signal: Field, rng: Generator) -> list[tuple[str, float, float]]:
    """Spoil single pixels of the detector's signal, sharper than any object; return them."""
    found = []
    for _ in range(int(rng.poisson(signal.size / 6e6))):
        row, column = int(rng.integers(signal.shape[0])), int(rng.integers(signal.shape[1]))
        signal[row, column] *= rng.choice([0.65, 1.35])
        found.append(("dead-pixel", row + 0.5, column + 0.5))
    return found


def draw_dust(values: Field, bright: float, rng: Generator) -> list[tuple[str, float, float]]:
    """Draw dust with edges sharper than the system's blur, now and then; return where."""
    found = []
    count = int(rng.poisson(6 * values.size / 8e6)) if rng.random() < 0.12 else 0
    for _ in range(count):
        row, column = (int(rng.integers(4, side - 8)) for side in values.shape)
        height, width = (int(size) for size in rng.integers(1, 4, 2))
        values[row : row + height, column : column + width] += np.float32(bright * rng.uniform(0.15, 0.5))
        found.append(("dust", row + height / 2, column + width / 2))
    return found


def draw_letters(
    values: Field, breast: Field, text: str, white: float, rng: Generator, *, mirrored: bool
) -> list[tuple[str, float, float]]:
    """Draw lead letters beside the breast, readable once a right breast is mirrored; return where.

    `breast`: where there is breast, one element per 4 x 4 pixels. No letters where there is no room.
    """
    size = LETTER_PX
    rows = np.zeros((7 * size, 0), np.float32)
    for letter in text:
        pattern = np.array([[float(dot) for dot in line] for line in _STROKES[letter]], np.float32)
        drawn = np.kron(pattern, np.ones((size, size), np.float32))
        rows = np.concatenate([rows, drawn, np.zeros((7 * size, size), np.float32)], axis=1)
    if mirrored:
        rows = rows[:, ::-1]
    height, width = rows.shape
    top = int(rng.uniform(0.04, 0.22) * values.shape[0])
    left = values.shape[1] - width - int(rng.uniform(30, 140))
    if left < 0 or top + height > values.shape[0]:
        return []
    if (breast[top // 4 : (top + height) // 4 + 4, max(left // 4 - 8, 0) :] > 0).any():
        return []
    patch = values[top : top + height, left : left + width]
    np.maximum(patch, rows * np.float32(white), out=patch)
    return [("letters", top + height / 2, left + width / 2)]
