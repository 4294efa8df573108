"""What lies on a picture and not in the breast: faults of the detector, dust, letters, bars, another breast.

Points are (row, column) in pixels of the window, values those of the picture or of the detector's signal.
"""

from typing import TypeAlias

import numpy as np
from numpy.random import Generator

from lab.phantom.anatomy import Anatomy
from lab.phantom.fields import Field, Mask, blur, enlarge, power_law, smooth_step

Found: TypeAlias = list[tuple[str, float, float]]

_STROKES = {
    "R": ("11110", "10001", "10001", "11110", "10100", "10010", "10001"),
    "L": ("10000", "10000", "10000", "10000", "10000", "10000", "11111"),
    "C": ("01111", "10000", "10000", "10000", "10000", "10000", "01111"),
    "M": ("10001", "11011", "10101", "10101", "10001", "10001", "10001"),
    "O": ("01110", "10001", "10001", "10001", "10001", "10001", "01110"),
    "X": ("10001", "10001", "01010", "00100", "01010", "10001", "10001"),
    "A": ("01110", "10001", "10001", "11111", "10001", "10001", "10001"),
    "T": ("11111", "00100", "00100", "00100", "00100", "00100", "00100"),
    "1": ("00100", "01100", "00100", "00100", "00100", "00100", "01110"),
    "7": ("11111", "00001", "00010", "00100", "01000", "01000", "01000"),
    " ": ("00000",) * 7,
}
WHITE = 4000.0


def draw_detector_faults(signal: Field, rng: Generator) -> Found:
    """Spoil single pixels, and now and then a part of a row or column; sharper than any object."""
    found: Found = []
    for _ in range(int(rng.poisson(signal.size / 6e6))):
        row, column = int(rng.integers(signal.shape[0])), int(rng.integers(signal.shape[1]))
        signal[row, column] *= rng.choice([0.65, 1.35])
        found.append(("dead-pixel", row + 0.5, column + 0.5))
    if rng.random() < 0.04:
        row, column = int(rng.integers(signal.shape[0])), int(rng.integers(signal.shape[1]))
        length = int(rng.integers(100, 2000))
        gain = np.float32(1 + rng.choice([-1, 1]) * rng.uniform(0.02, 0.08))
        if rng.random() < 0.5:
            signal[row, column : column + length] *= gain
        else:
            signal[row : row + length, column] *= gain
        found.append(("dead-line", row + 0.5, column + 0.5))
    return found


def draw_dust(values: Field, bright: float, rng: Generator, *, often: float = 0.12) -> Found:
    """Draw dust and hairs of the plate, with edges sharper than the system's blur, now and then; return where."""
    found: Found = []
    if rng.random() >= often:
        return found
    for _ in range(int(rng.poisson(1 + 6 * values.size / 8e6))):
        row, column = (int(rng.integers(4, side - 8)) for side in values.shape)
        height, width = (int(size) for size in rng.integers(1, 5, 2))
        lump = (rng.random((height, width)) < 0.8).astype(np.float32)
        lump[height // 2, width // 2] = 1
        values[row : row + height, column : column + width] += lump * np.float32(
            bright * rng.uniform(0.1, 0.5)
        )
        found.append(("dust", row + height / 2, column + width / 2))
    for _ in range(int(rng.poisson(0.5))):
        found.append(_hair(values, bright * rng.uniform(0.1, 0.35), rng))
    return found


def _hair(values: Field, brightness: float, rng: Generator) -> tuple[str, float, float]:
    """Draw a fibre that lies on the plate or film: one or two pixels wide, 2 to 15 mm long."""
    count = int(rng.integers(40, 220))
    angle = rng.uniform(0, 2 * np.pi) + np.cumsum(np.cumsum(rng.normal(0, 0.002, count)))
    start = [rng.uniform(0, side) for side in values.shape]
    rows = np.clip(np.rint(start[0] + np.cumsum(np.sin(angle))).astype(int), 0, values.shape[0] - 2)
    columns = np.clip(np.rint(start[1] + np.cumsum(np.cos(angle))).astype(int), 0, values.shape[1] - 2)
    drawn = np.zeros(values.shape, bool) if rng.random() < 0.5 else None
    unique = np.unique(np.stack([rows, columns]), axis=1)
    values[unique[0], unique[1]] += np.float32(brightness)
    if drawn is not None:
        values[unique[0], unique[1] + 1] += np.float32(brightness * 0.6)
    return "fibre", float(rows[count // 2]) + 0.5, float(columns[count // 2]) + 0.5


def draw_letters(values: Field, breast: Mask, text: str, rng: Generator, *, mirrored: bool) -> Found:
    """Draw view letters beside the breast, of lead or burned in, in one of many sizes; return where.

    They are readable once a right breast is mirrored. `breast`: where there is breast, one element per 4 x 4
    pixels. No letters where there is no room.
    """
    size = int(rng.integers(3, 13))
    spaced = f"{text[0]} {text[1:]}" if rng.random() < 0.4 else text
    drawn = _written(spaced, size)
    if rng.random() < 0.3:
        initials = _written(str(rng.choice(["A", "T1", "M7", "C1"])), size)
        below = np.zeros((initials.shape[0], max(drawn.shape[1], initials.shape[1])), np.float32)
        below[:, : initials.shape[1]] = initials
        above = np.pad(drawn, ((0, size * 3), (0, below.shape[1] - drawn.shape[1])))
        drawn = np.concatenate([above, below])
    if rng.random() < 0.3:
        plate = np.pad(drawn, size * 2)
        drawn = np.where(plate > 0, plate, np.float32(rng.uniform(0.2, 0.6)))
    if rng.random() < 0.15:
        drawn = np.rot90(drawn)
    drawn = drawn[:, ::-1] if mirrored else drawn
    height, width = drawn.shape
    top = int(rng.choice([rng.uniform(0.02, 0.25), rng.uniform(0.7, 0.93)], p=[0.8, 0.2]) * values.shape[0])
    left = values.shape[1] - width - int(rng.uniform(20, 0.2 * values.shape[1]))
    if left < 0 or top + height > values.shape[0]:
        return []
    if breast[max(top // 4 - 2, 0) : (top + height) // 4 + 2, max(left // 4 - 8, 0) :].any():
        return []
    white = np.float32(WHITE if rng.random() < 0.6 else rng.uniform(1500, WHITE))
    patch = values[top : top + height, left : left + width]
    np.maximum(patch, drawn * white, out=patch)
    return [("letters", top + height / 2, left + width / 2)]


def _written(text: str, size: int) -> Field:
    """Return letters of 1 on 0, each dot `size` pixels."""
    lines = np.zeros((7, 0), np.float32)
    for letter in text:
        pattern = np.array([[float(dot) for dot in line] for line in _STROKES[letter]], np.float32)
        lines = np.concatenate([lines, pattern, np.zeros((7, 1), np.float32)], axis=1)
    return np.kron(lines, np.ones((size, size), np.float32))


def draw_collimator(values: Field, anatomy: Anatomy, air: float, rng: Generator) -> Found:
    """Draw the collimator's edges: sharp black or white bars at the detector's borders, now and then."""
    if rng.random() >= 0.10:
        return []
    window = anatomy.window
    level = np.float32(WHITE if rng.random() < 0.5 else air)
    down, across = window.centers(1)
    found: Found = []
    for edge, widest in (("top", 4.0), ("bottom", 4.0), ("far", 18.0), ("chest", 1.5)):
        if rng.random() < 0.5:
            continue
        width, tilt = rng.uniform(0.3, widest), rng.normal() * 0.003
        reach = {
            "top": down + across * tilt,
            "bottom": window.detector_height_mm - down + across * tilt,
            "far": window.detector_width_mm - across + down * tilt,
            "chest": across + down * tilt,
        }[edge]
        bar = reach < width
        values[np.broadcast_to(bar, values.shape)] = level
        rows, columns = np.nonzero(np.broadcast_to(bar, values.shape)[::64, ::64])
        if rows.size:
            middle = rows.size // 2
            found.append(("collimator", float(rows[middle] * 64), float(columns[middle] * 64)))
    return found


def draw_neighbour(values: Field, anatomy: Anatomy, level: tuple[float, float], rng: Generator) -> Found:
    """Draw the other breast, the chin or the belly in a corner beside the chest wall, in the air; now and then.

    `level`: stored values of dark and bright tissue.
    """
    if rng.random() >= 0.10:
        return []
    window = anatomy.window
    upper = rng.random() < 0.5
    down, across = window.centers(4)
    height = window.detector_height_mm
    radius = rng.uniform(18, 60)
    center = rng.uniform(-0.6, 0.3) * radius
    center = center if upper else height - center
    depth = radius - np.hypot(down - center, (across + rng.uniform(0, 0.5) * radius) * rng.uniform(0.6, 1.1))
    dark, bright = level
    texture = blur(power_law((depth.shape[0], depth.shape[1]), 3.0, rng, window.spacing_mm * 4, 0.03), 1)
    body = dark + (bright - dark) * (
        rng.uniform(0, 0.7) + 0.12 * texture + 0.35 * np.exp(-np.clip(depth, 0, None) / 1.2)
    )
    edge = smooth_step(depth / rng.uniform(0.6, 2.0)) * ~anatomy.inside
    fine = enlarge((np.maximum(body, 0) * edge).astype(np.float32), 4)
    fine += (
        (fine > dark / 2)
        * rng.standard_normal(fine.shape, dtype=np.float32)
        * np.float32(0.03 * (bright - dark))
    )
    shown = enlarge(edge.astype(np.float32), 4) > 0.5
    if not shown.any():
        return []
    np.maximum(values, fine, out=values, where=shown)
    rows, columns = np.nonzero(shown[::16, ::16])
    if rows.size == 0:
        return []
    return [("neighbour", float(rows.mean() * 16), float(columns.mean() * 16))]
