"""Views beyond the screening set, and implants: how they change what is drawn.

A view is drawn as the nearer of the two that the phantom knows: craniocaudal from above or below, mediolateral
oblique from the side. Magnified and spot views show a part of the breast.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.random import Generator

from lab.phantom.anatomy import Anatomy, Window
from lab.phantom.detector import Exposure
from lab.phantom.fields import Field, enlarge, smooth_step
from lab.phantom.presentation import WHITE, Presentation
from mammography.view import View, ViewModifier, ViewPosition

MAGNIFICATION = 1.8
"""Magnification views are taken on a stand that enlarges by this at the detector."""
_FROM_ABOVE = frozenset({ViewPosition.CC, ViewPosition.XCCL, ViewPosition.XCCM, ViewPosition.FB})
PART_OF_BREAST = frozenset({ViewModifier.MAGNIFICATION, ViewModifier.SPOT_COMPRESSION})


def drawn_as(view: View) -> ViewPosition:
    """Return which of CC and MLO a view is drawn like."""
    return ViewPosition.CC if view.position in _FROM_ABOVE else ViewPosition.MLO


def magnification_of(view: View) -> float:
    """Return how much larger than the breast its image at the detector is; contact views count as 1."""
    return MAGNIFICATION if ViewModifier.MAGNIFICATION in view.modifiers else 1.0


def spot_distance(window: Window, rng: Generator) -> Field:
    """Return mm inside the opening of a spot paddle, negative beyond it; one element per 4 x 4 pixels."""
    down, across = window.centers(4)
    height, width = window.rows * window.spacing_mm, window.columns * window.spacing_mm
    half = min(height, width) * rng.uniform(0.32, 0.45)
    off_down = np.abs(down - window.top_mm - height / 2)
    off_across = np.abs(across - window.left_mm - width / 2)
    if rng.random() < 0.5:
        return np.asarray(half - np.hypot(off_down, off_across), dtype=np.float32)
    return np.asarray(half - np.maximum(off_down, off_across), dtype=np.float32)


@dataclass(frozen=True, slots=True, kw_only=True)
class Implant:
    """An implant in one view: where it lies, 0 to 1, one element per 4 x 4 pixels, and what it takes of the beam.

    `line`: its line integral, one element per 2 x 2 pixels. `white`: how bright it is shown, 1 for the top of the
    window. Vendors show implants even and bright and leave them out of the grey scale of the tissue.
    """

    where: Field
    line: Field
    white: float

    def beside(self, anatomy: Anatomy) -> Anatomy:
        """Return the anatomy with the implant among what calcifications stay clear of."""
        return replace(anatomy, pectoral=np.maximum(anatomy.pectoral, self.where))

    def before(self, exposure: Exposure) -> Exposure:
        """Return the exposure behind the implant; its grain is that of the tissue beside it."""
        left = np.exp(-enlarge(self.line, 2))
        return replace(exposure, signal=np.maximum(exposure.signal * left, 1), clean=exposure.clean * left)

    def show(self, picture: Presentation) -> None:
        """Whiten the implant in a picture For Presentation; a little of the tissue before it stays."""
        level = min(picture.window_center + self.white * picture.window_width / 2, WHITE - 60)
        cover = enlarge(self.where, 4) * np.float32(0.92)
        picture.values[:] = picture.values * (1 - cover) + cover * np.float32(level)


def draw_implant(anatomy: Anatomy, rng: Generator, *, displaced: bool) -> Implant:
    """Return an implant behind the tissue, or, displaced, what of it stays in view."""
    window, plan = anatomy.window, anatomy.plan
    reach = plan.protrusion * window.detector_width_mm
    tall = plan.height * window.detector_height_mm
    if displaced:
        radii = (tall * rng.uniform(0.4, 0.7), reach * rng.uniform(0.06, 0.16))
        center = (anatomy.nipple_down_mm + rng.normal() * 5, 0.0)
    else:
        radii = (tall * rng.uniform(0.6, 0.8), reach * rng.uniform(0.4, 0.5))
        center = (anatomy.nipple_down_mm + rng.normal() * 5, reach * rng.uniform(0.1, 0.2))
    down, across = window.centers(4)
    off = np.hypot((down - center[0]) / radii[0], (across - center[1]) / radii[1])
    where = smooth_step((1 - off) * min(radii) / 0.8) * (anatomy.depth > 0)
    body = np.sqrt(np.clip(1 - off**4, 0, 1)) * where
    silicone = rng.random() < 0.7
    line = enlarge(
        (body * (rng.uniform(1.2, 2.2) if silicone else rng.uniform(0.5, 0.8))).astype(np.float32), 2
    )
    if not silicone:
        line += _saline_folds(anatomy, center, radii, rng)
    white = rng.uniform(0.9, 1.4) if silicone else rng.uniform(0.4, 0.8)
    return Implant(where=where.astype(np.float32), line=line, white=float(white))


def _saline_folds(
    anatomy: Anatomy, center: tuple[float, float], radii: tuple[float, float], rng: Generator
) -> Field:
    """Return the wrinkles of a saline implant's shell, and its valve."""
    down, across = anatomy.window.centers(2)
    off_down, off_across = down - center[0], across - center[1]
    inside = smooth_step((1 - np.hypot(off_down / radii[0], off_across / radii[1])) * 8)
    total = np.zeros((down.size, across.size), np.float32)
    for _ in range(int(rng.integers(2, 6))):
        angle = rng.uniform(0, np.pi)
        aside = off_down * np.cos(angle) - off_across * np.sin(angle) + rng.normal() * min(radii) * 0.5
        along = off_across * np.cos(angle) + off_down * np.sin(angle)
        bent = aside + 0.01 * rng.normal() * along**2
        total += (np.exp(-((bent / rng.uniform(0.4, 1.2)) ** 2)) * rng.uniform(0.03, 0.12)).astype(np.float32)
    valve = np.hypot(off_down - 0.2 * radii[0], off_across)
    total += (np.exp(-(((valve - 4) / 0.6) ** 2)) * 0.2).astype(np.float32)
    return np.asarray(total * inside, dtype=np.float32)
