"""Metal in and on the breast: clips, markers of the skin, wires and devices; mm of metal, one element per pixel.

Each function returns the middle of what it drew as (down, across) in mm on the detector.
"""

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from lab.phantom.anatomy import Anatomy, Window
from lab.phantom.fields import Field, smooth_step
from lab.phantom.placement import choose_site

Curve = NDArray[np.float64]
STEP_MM = 0.04


def draw_bb(metal: Field, anatomy: Anatomy, gland: Field, rng: Generator) -> tuple[float, float]:
    """Draw a lead ball that marks the nipple, or a place where something was felt: 1.2 to 2.4 mm."""
    if rng.random() < 0.7:
        down = anatomy.nipple_down_mm + rng.normal() * 1.5
        across = anatomy.nipple_across_mm - anatomy.plan.nipple_mm - rng.uniform(-1, 3)
    else:
        site = choose_site(anatomy, gland, rng, margin_mm=4)
        down, across = site.down_mm, site.across_mm
    radius = rng.uniform(0.6, 1.2)
    _ellipse(metal, anatomy.window, (down, across), (radius, radius), 2 * radius)
    return down, across


def draw_clip(metal: Field, anatomy: Anatomy, gland: Field, rng: Generator) -> tuple[float, float]:
    """Draw a biopsy clip of one of the shapes that are sold, 1.5 to 4 mm, or surgical clips beside each other."""
    site = choose_site(anatomy, gland, rng, margin_mm=8)
    center = (site.down_mm, site.across_mm)
    size, turn = rng.uniform(1.5, 4.0), rng.uniform(0, 2 * np.pi)
    radius = rng.uniform(0.1, 0.3)
    names = list(_CLIPS)
    name = names[int(rng.integers(len(names)))]
    for _ in range(int(rng.integers(2, 5)) if name == "staple" else 1):
        wire = _CLIPS[name](np.linspace(0, 1, 160)) * size
        _wire(metal, anatomy.window, _turned(wire, turn, center), radius)
        center = (center[0] + rng.normal() * 5, center[1] + rng.normal() * 5)
        turn += rng.normal()
    return site.down_mm, site.across_mm


def draw_scar_wire(metal: Field, anatomy: Anatomy, gland: Field, rng: Generator) -> tuple[float, float]:
    """Draw a thin wire on the skin along a scar: 20 to 80 mm long."""
    site = choose_site(anatomy, gland, rng, margin_mm=4)
    along = np.linspace(-0.5, 0.5, 400)
    length = rng.uniform(20, 80)
    wire = np.stack([length * rng.uniform(-1, 1) * (along**2 - 0.1), length * along])
    _wire(
        metal,
        anatomy.window,
        _turned(wire, rng.uniform(0, np.pi), (site.down_mm, site.across_mm)),
        rng.uniform(0.2, 0.45),
        share=rng.uniform(0.1, 1),
    )
    return site.down_mm, site.across_mm


def draw_ring_marker(metal: Field, anatomy: Anatomy, gland: Field, rng: Generator) -> tuple[float, float]:
    """Draw the marker of a mole (a ring) or of a lump (a triangle) on the skin, 6 to 16 mm."""
    site = choose_site(anatomy, gland, rng, margin_mm=3)
    size = rng.uniform(6, 16)
    corners = 3 if rng.random() < 0.3 else 90
    angle = np.linspace(0, 2 * np.pi, corners + 1)
    path = np.stack([np.sin(angle), np.cos(angle)]) * size / 2
    fine = np.linspace(0, corners, 900)
    wire = np.stack([np.interp(fine, np.arange(corners + 1), line) for line in path])
    _wire(
        metal,
        anatomy.window,
        _turned(wire, rng.uniform(0, np.pi), (site.down_mm, site.across_mm)),
        rng.uniform(0.25, 0.7),
        share=rng.uniform(0.03, 0.3),
    )
    return site.down_mm, site.across_mm


def draw_device(metal: Field, anatomy: Anatomy, rng: Generator) -> tuple[float, float]:
    """Draw a pacemaker or port in the upper corner of an oblique view, with its lead."""
    window = anatomy.window
    center = (rng.uniform(-12, 10), rng.uniform(4, 35))
    sides = (rng.uniform(12, 24), rng.uniform(15, 26))
    _ellipse(metal, window, center, sides, rng.uniform(2, 7), power=3.5)
    along = np.linspace(0, 1, 700)
    lead = np.stack(
        [
            center[0] + sides[0] * np.sin(2 * along + 0.4) * rng.uniform(0.9, 1.5),
            center[1] + sides[1] * (0.5 + rng.uniform(0.2, 0.9) * np.sin(5 * along)),
        ]
    )
    _wire(metal, window, lead, rng.uniform(0.4, 0.9), share=0.5)
    return max(center[0], 1.0), center[1]


def draw_deodorant(metal: Field, anatomy: Anatomy, rng: Generator) -> list[tuple[float, float]]:
    """Draw grains of aluminium salt on the skin of the axilla, in streaks; returns some of their places."""
    window = anatomy.window
    row, column = rng.uniform(2, 60), rng.uniform(0.05, 0.4) * window.detector_width_mm
    turn = rng.uniform(0, np.pi)
    places = []
    for _ in range(int(rng.integers(1, 4))):
        start = (row + rng.normal() * 6, column + rng.normal() * 6)
        count = int(rng.integers(15, 140))
        along, aside = rng.normal(0, rng.uniform(3, 10), count), rng.normal(0, rng.uniform(0.6, 2.5), count)
        down = start[0] + along * np.sin(turn) + aside * np.cos(turn)
        across = start[1] + along * np.cos(turn) - aside * np.sin(turn)
        for place in zip(down, across, strict=True):
            radius = 0.5 * float(np.clip(np.exp(rng.normal(np.log(0.16), 0.5)), 0.06, 0.6))
            _ellipse(metal, window, place, (radius, radius * rng.uniform(0.5, 1.5)), rng.uniform(0.01, 0.035))
        places += list(zip(down[:3].tolist(), across[:3].tolist(), strict=True))
    return places


def _turned(wire: Curve, turn: float, center: tuple[float, float]) -> Curve:
    """Return a curve [2, count] of (down, across) turned around the origin and moved to a centre, mm."""
    cosine, sine = np.cos(turn), np.sin(turn)
    return np.stack(
        [center[0] + cosine * wire[0] + sine * wire[1], center[1] + cosine * wire[1] - sine * wire[0]]
    )


def _box(
    window: Window, low: tuple[float, float], high: tuple[float, float]
) -> tuple[slice, slice, Field, Field] | None:
    """Return the part of the window between two corners in mm, and the mm of its rows and columns."""
    tops = ((low[0] - window.top_mm, window.rows), (low[1] - window.left_mm, window.columns))
    ends = (high[0] - window.top_mm, high[1] - window.left_mm)
    first = [max(int(start / window.spacing_mm) - 1, 0) for start, _ in tops]
    last = [min(int(end / window.spacing_mm) + 2, side) for end, (_, side) in zip(ends, tops, strict=True)]
    if first[0] >= last[0] or first[1] >= last[1]:
        return None
    down = window.top_mm + (np.arange(first[0], last[0]) + 0.5) * window.spacing_mm
    across = window.left_mm + (np.arange(first[1], last[1]) + 0.5) * window.spacing_mm
    return slice(first[0], last[0]), slice(first[1], last[1]), down[:, None], across[None]


def _ellipse(
    metal: Field,
    window: Window,
    center: tuple[float, float],
    radii: tuple[float, float],
    thickness_mm: float,
    power: float = 2.0,
) -> None:
    """Draw a body whose outline is a superellipse: a lens for power 2, a rounded plate for more."""
    box = _box(
        window,
        (center[0] - radii[0], center[1] - radii[1]),
        (center[0] + radii[0], center[1] + radii[1]),
    )
    if box is None:
        return
    rows, columns, down, across = box
    reach = (np.abs((down - center[0]) / radii[0])) ** power + (
        np.abs((across - center[1]) / radii[1])
    ) ** power
    edge = smooth_step((1 - reach) * min(radii) / window.spacing_mm / power + 0.5)
    body = np.sqrt(np.clip(1 - reach, 0.04, 1)) * edge * thickness_mm
    np.maximum(metal[rows, columns], body.astype(np.float32), out=metal[rows, columns])


def _wire(metal: Field, window: Window, curve: Curve, radius: float, share: float = 1.0) -> None:
    """Draw a round wire along a curve [2, count] of (down, across) in mm."""
    lengths = np.concatenate([[0], np.cumsum(np.hypot(*np.diff(curve, axis=1)))])
    steps = np.arange(0, lengths[-1], max(radius / 2, STEP_MM))
    for place in np.stack([np.interp(steps, lengths, line) for line in curve], axis=1):
        box = _box(window, tuple(place - radius), tuple(place + radius))
        if box is None:
            continue
        rows, columns, down, across = box
        off = (down - place[0]) ** 2 + (across - place[1]) ** 2
        bore = 2 * np.sqrt(np.clip(radius * radius - off, 0, None)) * share
        np.maximum(metal[rows, columns], bore.astype(np.float32), out=metal[rows, columns])


def _loop(along: Curve) -> Curve:
    return np.stack([0.5 * np.sin(2 * np.pi * along), 0.5 * np.cos(2 * np.pi * along)])


def _coil(along: Curve) -> Curve:
    return np.stack([0.16 * np.sin(10 * np.pi * along), along - 0.5])


def _ribbon(along: Curve) -> Curve:
    angle = 2 * np.pi * (along - 0.5) * 0.8
    return np.stack([0.3 * np.sin(2 * angle), 0.5 * np.sin(angle)])


def _wing(along: Curve) -> Curve:
    return np.stack([np.abs(np.abs(2 * along - 1) - 0.5) - 0.25, along - 0.5])


def _bar(along: Curve) -> Curve:
    return np.stack([np.zeros_like(along), along - 0.5])


def _staple(along: Curve) -> Curve:
    return np.stack([np.clip(np.abs(along - 0.5) - 0.3, 0, None) * 3, np.clip(along - 0.5, -0.4, 0.4)])


def _heart(along: Curve) -> Curve:
    angle = 2 * np.pi * along
    return np.stack([-0.4 * np.cos(angle) - 0.2 * np.abs(np.sin(angle)), 0.45 * np.sin(angle)])


_CLIPS = {
    "loop": _loop,
    "coil": _coil,
    "ribbon": _ribbon,
    "wing": _wing,
    "bar": _bar,
    "staple": _staple,
    "heart": _heart,
}
