"""Folds of skin, edges of the paddle, moles and fibres: what overlaps the tissue before the detector.

Each function adds a line integral to a field with one element per 2 x 2 pixels, and returns the middle of what
it drew as (down, across) in mm on the detector, or None where the window has no place for it.
"""

from typing import TypeAlias

import numpy as np
from numpy.random import Generator
from scipy import ndimage

from lab.phantom.anatomy import Anatomy
from lab.phantom.fields import Field, enlarge, smooth_step
from lab.phantom.placement import choose_site

Place: TypeAlias = tuple[float, float]


def _border(anatomy: Anatomy, rng: Generator, away: float) -> tuple[float, float, float] | None:
    """Return a point of the skin line and the direction inwards, `away` from the nipple as a share of the height.

    Directions are radians from the columns' direction towards the rows'.
    """
    down, across = np.broadcast_arrays(*anatomy.window.centers(4))
    least = away * anatomy.plan.height * anatomy.window.detector_height_mm
    skin = (np.abs(anatomy.depth) < 0.6) & (np.abs(down - anatomy.nipple_down_mm) > least)
    rows, columns = np.nonzero(skin)
    if rows.size == 0:
        return None
    index = int(rng.integers(rows.size))
    row, column = int(rows[index]), int(columns[index])
    around = anatomy.depth[max(row - 6, 0) : row + 7, max(column - 6, 0) : column + 7]
    if min(around.shape) < 4:
        return None
    rise_down, rise_across = (float(slope.mean()) for slope in np.gradient(around))
    return float(down[row, column]), float(across[row, column]), float(np.arctan2(rise_down, rise_across))


def draw_wedge(line: Field, anatomy: Anatomy, rng: Generator) -> Place | None:
    """Draw a fold that enters from the skin line: a saturated wedge, one edge sharp, often with fine creases."""
    start = _border(anatomy, rng, 0.45)
    if start is None:
        return None
    row, column, inwards = start
    angle = inwards + rng.choice([-1, 1]) * rng.uniform(0.3, 1.2)
    length, width = rng.uniform(12, 55), rng.uniform(2, 12)
    down, across = anatomy.window.centers(2)
    along = (across - column) * np.cos(angle) + (down - row) * np.sin(angle)
    aside = (down - row) * np.cos(angle) - (across - column) * np.sin(angle)
    aside = aside + np.float32(rng.normal() * 0.006) * along**2
    half = width / 2 * np.clip(1 - along / length, 0, 1) ** rng.uniform(0.6, 1.6)
    behind = smooth_step((along + 15) / 10)
    sharp, soft = rng.uniform(0.08, 0.3), rng.uniform(0.2, 2.5)
    body = smooth_step((half - aside) / sharp) * smooth_step((half + aside) / soft) * (half > 0.05) * behind
    line += (body * rng.uniform(0.12, 0.9)).astype(np.float32)
    for _ in range(int(rng.integers(0, 5))):
        offset, fine = rng.uniform(-1.2, 1.6) * half, rng.uniform(0.12, 0.4)
        crease = np.exp(-(((aside - offset) / fine) ** 2)) * (along > -4) * (half > 0.05)
        line += (crease * rng.choice([-1.0, 1.0], p=[0.35, 0.65]) * rng.uniform(0.04, 0.2)).astype(np.float32)
    return row + 0.3 * length * np.sin(angle), column + 0.3 * length * np.cos(angle)


def draw_rim_fold(line: Field, anatomy: Anatomy, rng: Generator) -> Place | None:
    """Draw skin doubled along the skin line, as in the inframammary fold: a bright band with a wavy inner edge."""
    start = _border(anatomy, rng, 0.55)
    if start is None:
        return None
    row, column, _ = start
    down, across = anatomy.window.centers(4)
    reach = rng.uniform(12, 40)
    distance = np.hypot(down - row, across - column)
    wave = ndimage.gaussian_filter1d(rng.standard_normal(128), 9) * 4
    ragged = 1 + 0.35 * np.interp((down - row) / reach * 60 + 64, np.arange(128), wave)
    width = rng.uniform(1.5, 7) * np.clip(1 - (distance / reach) ** 2, 0, 1) * ragged
    band = smooth_step((width - anatomy.depth) / rng.uniform(0.15, 0.6)) * (width > 0.1)
    line += enlarge((band * rng.uniform(0.2, 1.0)).astype(np.float32), 2)
    return row, column


def draw_creases(line: Field, anatomy: Anatomy, rng: Generator) -> Place | None:
    """Draw fine parallel creases of the skin near the axilla or the fold below: thin bright lines that converge."""
    start = _border(anatomy, rng, 0.4)
    if start is None:
        return None
    row, column, inwards = start
    down, across = anatomy.window.centers(2)
    angle = inwards + rng.normal() * 0.6
    along = (across - column) * np.cos(angle) + (down - row) * np.sin(angle)
    aside = (down - row) * np.cos(angle) - (across - column) * np.sin(angle)
    length = rng.uniform(15, 45)
    fade = smooth_step((length - along) / 12) * smooth_step((along + 4) / 4)
    for _ in range(int(rng.integers(2, 7))):
        middle = rng.normal() * 4 + along * rng.normal() * 0.08 + rng.normal() * 0.004 * along**2
        fine = rng.uniform(0.12, 0.35)
        line += (np.exp(-(((aside - middle) / fine) ** 2)) * fade * rng.uniform(0.02, 0.12)).astype(
            np.float32
        )
    return row + 0.4 * length * np.sin(angle), column + 0.4 * length * np.cos(angle)


def draw_paddle(line: Field, anatomy: Anatomy, rng: Generator) -> Place | None:
    """Draw the edge of the compression paddle along the chest wall, or across a corner: a sharp step and a ridge."""
    window = anatomy.window
    down, across = window.centers(2)
    if rng.random() < 0.7:
        edge = rng.uniform(1.5, 8)
        offset = across - edge + down * rng.normal() * 0.004
        middle = (float(window.top_mm + window.rows * window.spacing_mm / 2), edge)
    else:
        upper = rng.random() < 0.5
        edge = rng.uniform(0.05, 0.2) * window.detector_height_mm
        edge = edge if upper else window.detector_height_mm - edge
        offset = (down - edge + across * rng.normal() * 0.01) * (1 if upper else -1)
        middle = (edge, 30.0)
    ridge = np.exp(-((offset / rng.uniform(0.15, 0.6)) ** 2)) * rng.uniform(0.02, 0.25)
    step = smooth_step(-offset / rng.uniform(0.1, 0.5) + 0.5) * rng.uniform(-0.05, 0.3)
    line += (ridge + step).astype(np.float32)
    return middle


def draw_mole(line: Field, anatomy: Anatomy, gland: Field, rng: Generator) -> Place:
    """Draw a mole of the skin: a faint, warty disc with a bright rim and a dark halo of trapped air."""
    site = choose_site(anatomy, gland, rng)
    down, across = anatomy.window.centers(2)
    radius = rng.uniform(1.0, 5)
    angle = np.arctan2(down - site.down_mm, across - site.across_mm)
    distance = np.hypot(down - site.down_mm, across - site.across_mm)
    distance = distance * (1 + 0.08 * np.cos(rng.integers(2, 6) * angle + rng.uniform(0, 6)))
    disc = smooth_step((radius - distance) / 0.4 + 0.5) * rng.uniform(0.01, 0.06)
    rim = np.exp(-(((distance - radius) / 0.3) ** 2)) * rng.uniform(0.0, 0.04)
    halo = np.exp(-(((distance - radius - 0.8) / 0.4) ** 2)) * -rng.uniform(0.01, 0.07)
    line += (disc + rim + halo).astype(np.float32)
    for _ in range(int(rng.integers(0, 12))):
        off_down, off_across = rng.uniform(-0.7, 0.7, 2) * radius
        spot = np.hypot(down - site.down_mm - off_down, across - site.across_mm - off_across)
        line += (np.exp(-((spot / rng.uniform(0.15, 0.4)) ** 2)) * rng.uniform(-0.05, 0.03)).astype(
            np.float32
        )
    return site.down_mm, site.across_mm


def draw_crossing(line: Field, anatomy: Anatomy, gland: Field, rng: Generator) -> Place:
    """Draw two to six thin fibres that cross: bright spots without calcium."""
    site = choose_site(anatomy, gland, rng)
    window = anatomy.window
    pitch = window.spacing_mm * 2
    half = int(14 / pitch)
    row = int((site.down_mm - window.top_mm) / pitch)
    column = int((site.across_mm - window.left_mm) / pitch)
    top, left = max(row - half, 0), max(column - half, 0)
    patch = line[top : row + half, left : column + half]
    down = (np.arange(patch.shape[0])[:, None] + top - row) * np.float32(pitch)
    across = (np.arange(patch.shape[1])[None] + left - column) * np.float32(pitch)
    for _ in range(int(rng.integers(2, 7))):
        angle = rng.uniform(0, np.pi)
        along = across * np.cos(angle) + down * np.sin(angle)
        aside = down * np.cos(angle) - across * np.sin(angle) + rng.normal() * 0.5
        aside = aside + rng.normal() * 0.012 * along * along
        width = rng.uniform(0.1, 0.4)
        fade = np.exp(-((along / rng.uniform(2, 9)) ** 2))
        patch += (np.exp(-((aside / width) ** 2)) * fade * rng.uniform(0.006, 0.024)).astype(np.float32)
    return site.down_mm, site.across_mm


def draw_lymph_node(line: Field, anatomy: Anatomy, rng: Generator) -> Place:
    """Draw a lymph node over the muscle: a dense bean with a fatty hilum."""
    window = anatomy.window
    down, across = window.centers(2)
    row = rng.uniform(0.04, 0.3) * window.detector_height_mm
    column = rng.uniform(0.05, 0.3) * window.detector_width_mm
    angle = rng.uniform(0, np.pi)
    long = rng.uniform(4, 9) * window.detector_width_mm / 179
    along = (across - column) * np.cos(angle) + (down - row) * np.sin(angle)
    aside = (down - row) * np.cos(angle) - (across - column) * np.sin(angle)
    radius = np.hypot(along / long, aside / (long * rng.uniform(0.5, 0.8)))
    hilum = np.hypot((along - 0.2 * long) / long, (aside - 0.3 * long) / long)
    bean = smooth_step((1 - radius) * 3) - 0.7 * smooth_step((0.45 - hilum) * 3)
    line += (np.clip(bean, 0, 1) * rng.uniform(0.05, 0.14)).astype(np.float32)
    return row, column


def draw_hair(line: Field, anatomy: Anatomy, rng: Generator) -> Place | None:
    """Draw strands of hair that hang over the breast from above: fine lines that run along and across each other."""
    window = anatomy.window
    down, across = window.centers(2)
    row, column = rng.uniform(0, 0.3) * window.detector_height_mm, rng.uniform(2, 50)
    angle, bow, length = np.pi / 2 + rng.normal() * 0.5, rng.normal() * 0.01, rng.uniform(15, 60)
    pitch = window.spacing_mm * 2
    first, last = (max(int((row - window.top_mm + end) / pitch), 0) for end in (-length, length))
    near = slice(first, last)
    first, last = (max(int((column - window.left_mm + end) / pitch), 0) for end in (-40, 40))
    beside = slice(first, last)
    patch = line[near, beside]
    if patch.size == 0:
        return None
    for _ in range(int(rng.integers(4, 22))):
        turn = angle + rng.normal() * 0.12
        along = (across[:, beside] - column) * np.cos(turn) + (down[near] - row) * np.sin(turn)
        aside = (down[near] - row) * np.cos(turn) - (across[:, beside] - column) * np.sin(turn)
        aside = aside + rng.normal() * 4 + (bow + rng.normal() * 0.003) * along**2
        fade = smooth_step((length * 0.8 - np.abs(along)) / 8)
        strand = np.exp(-((aside / rng.uniform(0.09, 0.14)) ** 2)) * fade
        patch += (strand * rng.uniform(0.008, 0.04)).astype(np.float32)
    return row, column
