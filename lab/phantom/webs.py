"""Webs of fine fibres, broken up by what lies over them: what the edge of dense tissue looks like from near.

Thin bright pieces that lie close together are the commonest false clusters of a detector, because each piece is
as wide as a calcification. They differ in what they are part of: pieces of a web lie on lines.
"""

import numpy as np
from numpy.random import Generator

from lab.phantom.anatomy import Anatomy
from lab.phantom.fields import Field, blur, cell_edges, power_law, smooth_step
from lab.phantom.placement import choose_site

SMALLEST_MM, LARGEST_MM = 4.0, 16.0
"""Radius of a web."""


def draw_web(line: Field, anatomy: Anatomy, gland: Field, rng: Generator) -> tuple[float, float]:
    """Draw a web somewhere in the breast into a line integral [rows / 2]; return its middle (down, across) in mm."""
    site = choose_site(anatomy, gland, rng)
    window = anatomy.window
    pitch_mm = window.spacing_mm * 2
    half = int(1.4 * LARGEST_MM / pitch_mm)
    row = int((site.down_mm - window.top_mm) / pitch_mm)
    column = int((site.across_mm - window.left_mm) / pitch_mm)
    top, left = max(row - half, 0), max(column - half, 0)
    patch = line[top : max(row + half, 0), left : max(column + half, 0)]
    if patch.size:
        down = (np.arange(patch.shape[0], dtype=np.float32)[:, None] + (top - row)) * np.float32(pitch_mm)
        across = (np.arange(patch.shape[1], dtype=np.float32)[None] + (left - column)) * np.float32(pitch_mm)
        patch += web_of(down, across, pitch_mm, rng)
    return site.down_mm, site.across_mm


def web_of(down: Field, across: Field, pitch_mm: float, rng: Generator) -> Field:
    """Return the additional line integral [rows, columns] of one web around (0, 0).

    `down` [rows, 1] and `across` [1, columns]: mm from the middle of the web, `pitch_mm` apart. Fibres are 0.1 to
    0.3 mm wide and add 0.005 to 0.025 where they are whole, as much as small calcifications do.
    """
    shape = (down.size, across.size)
    reach = rng.uniform(SMALLEST_MM, LARGEST_MM)
    edge = blur(rng.standard_normal(shape, dtype=np.float32), 2.0 / pitch_mm)
    edge /= max(float(edge.std()), 1e-6)
    radius = np.hypot(down * np.float32(rng.uniform(0.7, 1.4)), across) / np.float32(reach)
    envelope = smooth_step((1 - radius + 0.12 * edge) * 2.5)
    web = np.zeros(shape, np.float32)
    for _ in range(int(rng.integers(1, 4))):
        web = np.maximum(web, _net(down, across, pitch_mm, rng) * np.float32(rng.uniform(0.4, 1.0)))
    broken = power_law(shape, rng.uniform(0.6, 2.4), rng, pitch_mm, lowest=1 / rng.uniform(0.5, 5.0))
    shown = smooth_step((broken + rng.uniform(-0.6, 0.8)) * rng.uniform(0.5, 3.0))
    return (web * shown * envelope * np.float32(rng.uniform(0.005, 0.025))).astype(np.float32)


def _net(down: Field, across: Field, pitch_mm: float, rng: Generator) -> Field:
    """Return one layer of a web: the walls of a warped foam, 0 to 1."""
    shape = (down.size, across.size)
    cell = float(np.exp(rng.uniform(np.log(0.8), np.log(5.0))))
    angle, stretch = rng.uniform(0, np.pi), rng.uniform(1.0, 3.0)
    along = across * np.float32(np.cos(angle)) + down * np.float32(np.sin(angle))
    aside = down * np.float32(np.cos(angle)) - across * np.float32(np.sin(angle))
    strength, smoothness = rng.uniform(0.15, 0.5) * cell, rng.uniform(0.25, 0.8) * cell
    warp = [blur(rng.standard_normal(shape, dtype=np.float32), smoothness / pitch_mm) for _ in range(2)]
    warp = [field * np.float32(strength / max(float(field.std()), 1e-6)) for field in warp]
    distance = cell_edges(along / np.float32(stretch) + warp[0], aside + warp[1], cell, rng)
    wide = rng.uniform(0.10, 0.30)
    return np.exp(-((distance / np.float32(2 * wide)) ** 2)).astype(np.float32)
