"""The outside of a compressed breast: outline, thickness, pectoral muscle, nipple. Lengths in millimetres.

A breast is planned on the whole detector and drawn through a window of it, which may be the whole. The chest
wall is the left edge here; right breasts are mirrored when the scene is finished.
"""

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from scipy import ndimage

from lab.phantom.fields import Field, Mask, power_law, smooth_step
from mammography.view import ViewPosition

COARSE_MM = 0.56
FOLD = 0.03
"""How round the inframammary fold is, as a share of the breast's reach."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BreastPlan:
    """What the views of one breast share. Fractions are of the detector's width and height.

    `density`: 0 (almost entirely fat) to 3 (extremely dense).
    """

    protrusion: float
    height: float
    thickness_mm: float
    density: int
    glandularity: float
    nipple_mm: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """Which part of the detector is drawn: sides in pixels (multiples of 8), corner and detector in mm."""

    rows: int
    columns: int
    spacing_mm: float
    top_mm: float
    left_mm: float
    detector_height_mm: float
    detector_width_mm: float

    def centers(self, step: int) -> tuple[Field, Field]:
        """Return (down [rows, 1], across [1, columns]): mm of the centres of blocks of `step` pixels."""
        pitch = self.spacing_mm * step
        down = self.top_mm + (np.arange(self.rows // step) + 0.5) * pitch
        across = self.left_mm + (np.arange(self.columns // step) + 0.5) * pitch
        return down[:, None].astype(np.float32), across[None].astype(np.float32)


@dataclass(frozen=True, slots=True, kw_only=True)
class Anatomy:
    """The drawn outside of a breast, one element per 4 x 4 pixels of the window.

    `depth`: mm inside the skin line, negative outside. `thickness`: mm of tissue. `pectoral`: 0 to 1.
    """

    plan: BreastPlan
    window: Window
    depth: Field
    thickness: Field
    pectoral: Field
    nipple_down_mm: float
    nipple_across_mm: float

    @property
    def inside(self) -> Mask:
        """Where there is breast."""
        return self.depth > 0


def plan_breast(rng: Generator, *, density: int | None = None) -> BreastPlan:
    """Return a breast drawn at random: A 11, B 43, C 41, D 5 % as in screening, with more dense ones."""
    chosen = int(rng.choice(4, p=[0.12, 0.38, 0.38, 0.12])) if density is None else density
    return BreastPlan(
        protrusion=float(rng.uniform(0.38, 0.62)),
        height=float(rng.uniform(0.30, 0.42)),
        thickness_mm=float(rng.uniform(28, 72)),
        density=chosen,
        glandularity=float((0.10, 0.27, 0.50, 0.78)[chosen] * rng.uniform(0.8, 1.2)),
        nipple_mm=float(rng.uniform(1.5, 6)),
    )


def draw_anatomy(plan: BreastPlan, position: ViewPosition, window: Window, rng: Generator) -> Anatomy:
    """Return the outside of a breast in one view, through a window of the detector."""
    height, width = window.detector_height_mm, window.detector_width_mm
    down = (np.arange(int(height / COARSE_MM) + 1) + 0.5) * COARSE_MM
    oblique = position is not ViewPosition.CC
    profile, nipple_down = (_oblique_profile if oblique else _craniocaudal_profile)(
        plan, down / height, width, rng
    )
    wobble = ndimage.gaussian_filter1d(rng.standard_normal(len(down)), 9 / COARSE_MM)
    profile = ndimage.gaussian_filter1d(profile + wobble * 5 * (profile > 2), 1.6 / COARSE_MM)
    nipple_down *= height
    nipple_across = float(np.interp(nipple_down, down, profile))
    scale = min(1.0, height / 140)
    bump = np.exp(-0.5 * ((down - nipple_down) / (rng.uniform(3.2, 5.0) * scale)) ** 4)
    profile = profile + plan.nipple_mm * scale * bump
    coarse = _signed_distance(profile, down, width, open_below=oblique)
    rows, columns = window.centers(4)
    places = np.broadcast_arrays(rows / COARSE_MM - 0.5, columns / COARSE_MM - 0.5)
    depth = ndimage.map_coordinates(coarse, places, order=1, mode="nearest").astype(np.float32)
    pectoral = np.zeros_like(depth)
    if oblique:
        pectoral = _pectoral(window, plan, rng) * (depth > 0)
    return Anatomy(
        plan=plan,
        window=window,
        depth=depth,
        thickness=_thickness(plan, depth, window, rng),
        pectoral=pectoral.astype(np.float32),
        nipple_down_mm=nipple_down,
        nipple_across_mm=nipple_across + plan.nipple_mm * scale,
    )


def _craniocaudal_profile(
    plan: BreastPlan, down: np.ndarray, width: float, rng: Generator
) -> tuple[np.ndarray, float]:
    """Return (mm from the chest wall to the skin, for each row; where the nipple is), heights as fractions."""
    center = rng.uniform(0.46, 0.54)
    above, below = rng.uniform(0.94, 1.06, 2)
    off = np.abs((down - center) / (plan.height * np.where(down < center, above, below)))
    power = rng.uniform(1.9, 2.3)
    shape = np.clip(1 - off**power, 0, None) ** rng.uniform(0.5, 0.6)
    return shape * plan.protrusion * width, float(center + rng.normal() * 0.01)


def _oblique_profile(
    plan: BreastPlan, down: np.ndarray, width: float, rng: Generator
) -> tuple[np.ndarray, float]:
    """Return (mm from the edge to the skin, for each row; where the nipple is), heights as fractions."""
    nipple = rng.uniform(0.54, 0.64)
    reach = plan.protrusion * width * rng.uniform(1.0, 1.2)
    axilla = rng.uniform(0.45, 0.72)
    fold = min(0.985, nipple + plan.height * rng.uniform(0.66, 0.84))
    up = np.clip((nipple - down) / nipple, 0, 1)
    above = axilla + (1 - axilla) * np.clip(1 - up ** rng.uniform(1.6, 2.1), 0, None)
    below = np.clip((down - nipple) / (fold - nipple), 0, None)
    round_below = np.clip(1 - below ** rng.uniform(2.0, 2.6), 0, None) ** 0.55
    abdomen = rng.uniform(-0.02, 0.14) + rng.uniform(0.3, 1.6) * (down - fold)
    round_below = np.logaddexp(round_below / FOLD, abdomen / FOLD) * FOLD
    return np.where(down < nipple, above, round_below) * reach, float(nipple + rng.uniform(-0.02, 0.01))


def _signed_distance(profile: np.ndarray, down: np.ndarray, width: float, *, open_below: bool) -> Field:
    """Return mm to the skin line on the coarse grid of the detector, negative outside the breast.

    The chest wall (and, in an oblique view, top and bottom) is no skin: the breast goes on beyond the detector.
    """
    margin = 60
    across = (np.arange(-margin, int(width / COARSE_MM) + 1) + 0.5) * COARSE_MM
    inside = across[None] < np.clip(profile, 0.01, None)[:, None]
    inside[:, :margin] = inside[:, margin : margin + 1]
    if open_below:
        inside = np.pad(inside, ((margin, margin), (0, 0)), mode="edge")
    within = ndimage.distance_transform_edt(inside) - 0.5
    without = ndimage.distance_transform_edt(~inside) - 0.5
    signed = np.where(inside, within, -without) * COARSE_MM
    signed = ndimage.gaussian_filter(signed, 1.4)[:, margin:]
    if open_below:
        signed = signed[margin:-margin]
    return signed[: len(down)].astype(np.float32)


def _thickness(plan: BreastPlan, depth: Field, window: Window, rng: Generator) -> Field:
    """Return mm of tissue: flat between the paddles, rolling off like a half circle towards the skin."""
    full = min(plan.thickness_mm, 0.55 * plan.protrusion * window.detector_width_mm)
    roll = full / 2
    rim = np.clip(depth / roll, 0, 1)
    rounded = full * np.sqrt(np.clip(1 - (1 - rim) ** 2, 0, 1))
    down, _ = window.centers(4)
    tilt = 1 + 0.07 * rng.normal() * (2 * down / window.detector_height_mm - 1)
    return (rounded * tilt).astype(np.float32)


def _pectoral(window: Window, plan: BreastPlan, rng: Generator) -> Field:
    """Return where the pectoral muscle lies, 0 to 1, with a soft, slightly curved edge."""
    down, across = window.centers(4)
    height, width = window.detector_height_mm, window.detector_width_mm
    top = rng.uniform(0.22, 0.38) * width * (0.6 + 0.8 * plan.protrusion)
    end = rng.uniform(0.45, 0.8) * height
    along = down / end
    edge = top * (1 - along + rng.uniform(-0.1, 0.35) * along * (1 - along))
    rough = power_law((window.rows // 4, window.columns // 4), 4.5, rng, window.spacing_mm * 4, 0.02)
    return smooth_step((edge - across + rough * 1.5) / rng.uniform(2.5, 7) + 0.5)
