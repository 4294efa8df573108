"""What looks bright on a mammogram and is no calcification: the traps that a reader must not fall into.

Folds and fibres (`lab.phantom.folds`) and metal (`lab.phantom.metal`) lie before the detector; faults, dust,
letters and bars (`lab.phantom.overlay`) after it. Points are (row, column) in pixels of the window.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.random import Generator

from lab.phantom.anatomy import Anatomy
from lab.phantom.fields import Field
from lab.phantom.folds import (
    Place,
    draw_creases,
    draw_crossing,
    draw_hair,
    draw_lymph_node,
    draw_mole,
    draw_paddle,
    draw_rim_fold,
    draw_wedge,
)
from lab.phantom.metal import (
    draw_bb,
    draw_clip,
    draw_deodorant,
    draw_device,
    draw_ring_marker,
    draw_scar_wire,
)
from lab.phantom.webs import draw_web

CROSSINGS, WEBS = 2.0, 1.2
"""Crossings and webs of fibres in a view, on average."""


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
    _overlap(traps, anatomy, gland, rng)
    _metal(traps, anatomy, gland, rng)
    return traps


def _overlap(traps: Traps, anatomy: Anatomy, gland: Field, rng: Generator) -> None:
    """Draw folds, creases, paddle, moles, nodes and fibres."""
    line = traps.line
    for _ in range(int(rng.poisson(0.35))):
        _note(traps, anatomy, "fold", draw_wedge(line, anatomy, rng))
    for _ in range(int(rng.poisson(0.25))):
        _note(traps, anatomy, "fold", draw_rim_fold(line, anatomy, rng))
    if rng.random() < 0.12:
        _note(traps, anatomy, "creases", draw_creases(line, anatomy, rng))
    if rng.random() < 0.10:
        _note(traps, anatomy, "paddle", draw_paddle(line, anatomy, rng))
    if rng.random() < 0.04:
        _note(traps, anatomy, "hair", draw_hair(line, anatomy, rng))
    if rng.random() < 0.12:
        _note(traps, anatomy, "mole", draw_mole(line, anatomy, gland, rng))
    for _ in range(int(rng.poisson(CROSSINGS))):
        _note(traps, anatomy, "crossing", draw_crossing(line, anatomy, gland, rng))
    for _ in range(int(rng.poisson(WEBS))):
        _note(traps, anatomy, "web", draw_web(line, anatomy, gland, rng))
    if anatomy.pectoral.any() and rng.random() < 0.4:
        for _ in range(int(rng.integers(1, 4))):
            _note(traps, anatomy, "lymph-node", draw_lymph_node(line, anatomy, rng))


def _metal(traps: Traps, anatomy: Anatomy, gland: Field, rng: Generator) -> None:
    """Draw balls, clips, wires, markers, devices and deodorant."""
    metal = traps.metal
    if rng.random() < 0.15:
        _note(traps, anatomy, "bb", draw_bb(metal, anatomy, gland, rng))
    if rng.random() < 0.10:
        _note(traps, anatomy, "clip", draw_clip(metal, anatomy, gland, rng))
    if rng.random() < 0.03:
        _note(traps, anatomy, "scar-wire", draw_scar_wire(metal, anatomy, gland, rng))
    if rng.random() < 0.04:
        _note(traps, anatomy, "skin-marker", draw_ring_marker(metal, anatomy, gland, rng))
    if anatomy.pectoral.any() and rng.random() < 0.02:
        _note(traps, anatomy, "device", draw_device(metal, anatomy, rng))
    if anatomy.pectoral.any() and rng.random() < 0.03:
        for place in draw_deodorant(metal, anatomy, rng):
            _note(traps, anatomy, "deodorant", place)


def _note(traps: Traps, anatomy: Anatomy, kind: str, place: Place | None) -> None:
    """Remember a trap that lies within the window."""
    if place is None:
        return
    window = anatomy.window
    row, column = (
        (place[0] - window.top_mm) / window.spacing_mm,
        (place[1] - window.left_mm) / window.spacing_mm,
    )
    if 0 <= row < window.rows and 0 <= column < window.columns:
        traps.found.append((kind, row, column))
