"""The inside of a breast: glandular tissue, ligaments, ducts and vessels, before the detector sees them."""

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from scipy import ndimage

from lab.phantom.anatomy import Anatomy
from lab.phantom.fields import Field, blur, cell_edges, enlarge, power_law, smooth_step

STEP = 2
"""Pixels per element of tissue fields, in rows and columns."""
LAYERS = 6
TUBE_STEP_MM = 0.25
FAN_MM = 60.0
"""How far from where its lines meet the fan is drawn at its own scale."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tissue:
    """Gland fraction (0 fat to 1 gland) and additional mm of gland of tubes, one element per 2 x 2 pixels."""

    gland: Field
    tubes: Field


@dataclass(frozen=True, slots=True, kw_only=True)
class Path:
    """The middle line of a tube, on the detector: mm, direction in radians (0 away from the chest wall)."""

    down: NDArray[np.float64]
    across: NDArray[np.float64]
    direction: NDArray[np.float64]
    radius: NDArray[np.float64]


def draw_tissue(anatomy: Anatomy, rng: Generator) -> Tissue:
    """Return the inside of a breast in one view."""
    window = anatomy.window
    shape = (window.rows // STEP, window.columns // STEP)
    pitch = window.spacing_mm * STEP
    beta = rng.uniform(2.9, 3.3)
    texture = power_law(shape, beta, rng, pitch, rng.uniform(0.01, 0.02))
    ligaments = _ligaments(anatomy, rng)
    layers = enlarge(_layers(anatomy, rng), 2)
    depth = enlarge(anatomy.depth, 2)
    pectoral = enlarge(anatomy.pectoral, 2)
    fraction = 0.04 + 0.64 * layers * (1 + np.float32(0.15 * rng.uniform(0.8, 2.0)) * texture)
    strength = np.float32(rng.uniform(0.7, 1.3))
    fraction += ligaments * (0.10 + 0.07 * layers) * smooth_step(depth / 6) * strength
    fraction += np.float32(rng.uniform(0.03, 0.06)) * texture
    muscle = _muscle(anatomy, fraction, rng) + np.float32(0.025) * texture
    fraction = fraction * (1 - pectoral) + muscle * pectoral
    fraction = np.where(fraction > 0.75, 0.75 + 0.25 * np.tanh((fraction - 0.75) / 0.4), fraction)
    tubes = np.zeros(shape, np.float32)
    for path, share in _vessels_and_ducts(anatomy, rng):
        draw_tube(tubes, path, anatomy, share)
    return Tissue(gland=np.clip(fraction, 0, 1).astype(np.float32), tubes=tubes)


def _muscle(anatomy: Anatomy, fraction: Field, rng: Generator) -> Field:
    """Return the muscle's gland fraction: about that of the densest tissue, less where it thins out below."""
    if not anatomy.pectoral.any():
        return np.zeros_like(fraction)
    beside = (anatomy.pectoral < 0.1) & (anatomy.depth > 8)
    densest = float(np.quantile(fraction[::2, ::2][beside], 0.93)) if beside.any() else 0.5
    down, across = anatomy.window.centers(STEP)
    height, width = anatomy.window.detector_height_mm, anatomy.window.detector_width_mm
    thinning = 1 - np.float32(rng.uniform(0.1, 0.35)) * (down / height + 0.6 * across / width)
    level = np.float32(np.clip(densest * rng.uniform(0.65, 1.0), 0.2, 0.65))
    return (level * thinning + _striations(anatomy, fraction.shape, rng)).astype(np.float32)


def _striations(anatomy: Anatomy, shape: tuple[int, int], rng: Generator) -> Field:
    """Return the muscle's faint bundles, which run along its edge."""
    window = anatomy.window
    if not anatomy.pectoral.any():
        return np.zeros(shape, np.float32)
    down, across = window.centers(STEP)
    slant = rng.uniform(0.35, 0.75)
    line = (across + down * slant) / rng.uniform(3, 6)
    wave = np.interp(line, np.arange(-50, 250), rng.standard_normal(300))
    return (wave * rng.uniform(0.008, 0.02)).astype(np.float32)


def _toward_nipple(anatomy: Anatomy) -> tuple[Field, Field]:
    """Return (mm to the nipple, angle away from the posterior nipple line), one element per 4 x 4 pixels."""
    down, across = anatomy.window.centers(4)
    below = down - np.float32(anatomy.nipple_down_mm)
    behind = np.float32(anatomy.nipple_across_mm) - across
    return np.hypot(below, behind), np.arctan2(below, behind + np.float32(1e-3))


def fan_out(anatomy: Anatomy, beta: float, rng: Generator, lowest: float) -> Field:
    """Return a power-law field drawn out along lines that meet before the nipple, one element per 4 x 4 pixels.

    The field lives on the plane whose axes are the logarithm of the distance to that point and the angle.
    """
    down, across = anatomy.window.centers(4)
    below = down - np.float32(anatomy.nipple_down_mm)
    behind = np.float32(anatomy.nipple_across_mm + rng.uniform(8, 30)) - across
    distance, angle = np.hypot(below, behind), np.arctan2(below, behind)
    pitch = anatomy.window.spacing_mm * 4
    drawn_out = rng.uniform(1.6, 3.0)
    along = np.log1p(distance / FAN_MM) * np.float32(FAN_MM / drawn_out / pitch)
    aside = angle * np.float32(FAN_MM / pitch)
    first_along, first_aside = float(along.min()), float(aside.min())
    shape = (int(np.ptp(aside)) + 3, int(np.ptp(along)) + 3)
    sides = (max(shape[0], 64), max(shape[1], 64))
    plane = power_law(sides, beta, rng, pitch, lowest)
    places = np.stack([aside - first_aside, along - first_along])
    fanned: Field = ndimage.map_coordinates(plane, places, order=1, mode="nearest")
    return fanned


def _layers(anatomy: Anatomy, rng: Generator) -> Field:
    """Return the share of soft-edged glandular layers, 0 to 1: the mean of thresholded power-law fields.

    One hard threshold would look like a cloud cut out of paper: each layer has its own edge.
    """
    window, plan = anatomy.window, anatomy.plan
    shape = anatomy.depth.shape
    pitch = window.spacing_mm * 4
    distance, angle = _toward_nipple(anatomy)
    reach = plan.protrusion * window.detector_width_mm
    _, across = window.centers(4)
    ragged = np.float32(rng.uniform(2, 3.5)) * power_law((shape[0], shape[1]), 4.2, rng, pitch, 0.03)
    depth = anatomy.depth + np.float32(7) * np.exp(-((distance / 16) ** 2)) + ragged
    envelope = smooth_step((depth - rng.uniform(3, 7)) / rng.uniform(12, 22))
    envelope *= 0.35 + 0.65 * smooth_step((across + 6) / 30)
    envelope *= np.clip(1.25 - np.abs(angle) / 1.6, 0.1, 1)
    envelope *= np.exp(-0.5 * (distance / (reach * rng.uniform(0.5, 0.85))) ** 2) * 1.7
    low = power_law((shape[0], shape[1]), rng.uniform(3.4, 4.0), rng, pitch, 0.012)
    start = envelope * 1.5 + 0.30 * low
    fields = [
        start + np.float32(0.40) * fan_out(anatomy, rng.uniform(3.2, 3.8), rng, 0.03) for _ in range(LAYERS)
    ]
    where = (anatomy.depth > 2) & (anatomy.pectoral < 0.5)
    share = 1 - np.clip(plan.glandularity, 0.03, 0.93)
    sample = np.stack([field[where][::17] for field in fields]) if where.any() else np.stack(fields)
    threshold = np.quantile(sample, share)
    softness = np.float32(rng.uniform(0.11, 0.2))
    total = np.zeros(shape, np.float32)
    for field in fields:
        total += 1 / (1 + np.exp(-(field - threshold) / softness))
    return (total / LAYERS).astype(np.float32)


def _ligaments(anatomy: Anatomy, rng: Generator) -> Field:
    """Return Cooper's ligaments and finer septa: walls of foams of four sizes, drawn out towards the nipple.

    The positions are warped smoothly; a rough warp would make worms of them.
    """
    window = anatomy.window
    shape = (window.rows // STEP, window.columns // STEP)
    quarter = (window.rows // 4, window.columns // 4)
    pitch = window.spacing_mm * 4
    _, angle = _toward_nipple(anatomy)
    down, across = np.broadcast_arrays(*window.centers(4))
    walls = np.zeros(shape, np.float32)
    sizes = ((14, 22, 0.5, 1.0), (7, 12, 0.4, 0.9), (3.5, 6, 0.15, 0.6), (1.8, 3, 0.05, 0.4))
    for smallest, largest, weakest, strongest in sizes:
        cell = rng.uniform(smallest, largest)
        strength = np.float32(rng.uniform(weakest, strongest))
        warps = [power_law(quarter, 5.0, rng, pitch, 0.4 / cell) * np.float32(cell * 0.35) for _ in range(2)]
        drawn_out = np.float32(rng.uniform(1.2, 2.0) ** 0.5)
        turn = np.float32(0.5) * angle
        cosine, sine = np.cos(turn), np.sin(turn)
        along = (across * cosine - (down - anatomy.nipple_down_mm) * sine + warps[0]) / drawn_out
        aside = (across * sine + (down - anatomy.nipple_down_mm) * cosine + warps[1]) * drawn_out
        gap = enlarge(cell_edges(aside.astype(np.float32), along.astype(np.float32), cell, rng), 2)
        width = np.float32(rng.uniform(0.25, 0.6) * np.clip(cell / 8, 0.5, 1.3))
        patchy = np.clip(0.6 + 0.6 * enlarge(power_law(quarter, 3.0, rng, pitch, 0.05), 2), 0, 2)
        walls += strength * np.exp(-((gap / width) ** 2)) * patchy
    for _ in range(int(rng.integers(1, 3))):
        walls += _contours(shape, pitch / 2, rng)
    walls *= np.clip(1 + 0.5 * enlarge(power_law(quarter, 3.0, rng, pitch, 0.03), 2), 0.1, 2.5)
    return walls / (1 + 0.35 * walls)


def _contours(shape: tuple[int, int], pitch_mm: float, rng: Generator) -> Field:
    """Return fibres that belong to no cell: where a power-law field passes through a level, ragged as that is."""
    level = power_law(shape, rng.uniform(3.2, 4.5), rng, pitch_mm, np.exp(rng.uniform(*np.log((0.05, 0.25)))))
    level -= np.float32(rng.uniform(-0.7, 0.7))
    width = np.float32(rng.uniform(0.05, 0.12))
    strength = np.float32(rng.uniform(0.05, 0.3))
    return (strength * np.exp(-((np.abs(level) / width) ** 1.5))).astype(np.float32)


def wander(
    rng: Generator, *, down: float, across: float, direction: float, length_mm: float, radius: float
) -> Path:
    """Return a smoothly winding, tapering path of about `length_mm` from a start in a direction."""
    count = max(int(length_mm / TUBE_STEP_MM), 8)
    turns = np.cumsum(ndimage.gaussian_filter1d(rng.standard_normal(count), 12) * 0.14)
    angle = direction + turns
    return Path(
        down=down + np.cumsum(np.sin(angle)) * TUBE_STEP_MM,
        across=across + np.cumsum(np.cos(angle)) * TUBE_STEP_MM,
        direction=angle,
        radius=radius * np.linspace(1, 0.5, count),
    )


def _vessels_and_ducts(anatomy: Anatomy, rng: Generator) -> list[tuple[Path, float]]:
    """Return the branching tubes of a breast with the share of their bore that attenuates like gland."""
    window = anatomy.window
    reach = anatomy.plan.protrusion * window.detector_width_mm
    tubes: list[tuple[Path, float]] = []
    for _ in range(int(rng.integers(2, 7))):
        start = rng.uniform(0.15, 0.85) * window.detector_height_mm
        vessel = wander(
            rng,
            down=start,
            across=rng.uniform(0, 10),
            direction=rng.normal() * 0.5,
            length_mm=reach * rng.uniform(0.5, 1.3),
            radius=rng.uniform(0.4, 1.3),
        )
        tubes += _branched(vessel, 0.9, rng, 2)
    for _ in range(int(rng.integers(5, 14))):
        duct = wander(
            rng,
            down=anatomy.nipple_down_mm + rng.normal() * 2,
            across=anatomy.nipple_across_mm - anatomy.plan.nipple_mm - 3,
            direction=np.pi + rng.normal() * 0.6,
            length_mm=reach * rng.uniform(0.25, 0.8),
            radius=rng.uniform(0.2, 0.6),
        )
        tubes += _branched(duct, 0.7, rng, 2)
    return tubes


def _branched(trunk: Path, share: float, rng: Generator, generations: int) -> list[tuple[Path, float]]:
    """Return a tube with its branches."""
    tubes = [(trunk, share)]
    if generations and rng.random() < 0.7:
        at = int(rng.integers(len(trunk.down) // 4, 3 * len(trunk.down) // 4))
        branch = wander(
            rng,
            down=float(trunk.down[at]),
            across=float(trunk.across[at]),
            direction=float(trunk.direction[at] + rng.choice([-1, 1]) * rng.uniform(0.3, 0.8)),
            length_mm=rng.uniform(0.4, 0.9) * len(trunk.down) * TUBE_STEP_MM,
            radius=float(trunk.radius[at] * 0.75),
        )
        tubes += _branched(branch, share, rng, generations - 1)
    return tubes


def draw_tube(tubes: Field, path: Path, anatomy: Anatomy, share: float) -> None:
    """Draw a tube of round bore into `tubes` (mm of gland); crossings keep the thicker one."""
    window = anatomy.window
    pitch = window.spacing_mm * STEP
    rows, columns = tubes.shape
    for index in range(0, len(path.down), 2):
        radius = path.radius[index] / pitch
        row = (path.down[index] - window.top_mm) / pitch - 0.5
        column = (path.across[index] - window.left_mm) / pitch - 0.5
        if not (0 <= row < rows and 0 <= column < columns):
            continue
        half = int(radius) + 2
        top, left = max(int(row) - half, 0), max(int(column) - half, 0)
        bottom, right = min(int(row) + half + 1, rows), min(int(column) + half + 1, columns)
        down = np.arange(top, bottom)[:, None] - row
        across = np.arange(left, right)[None] - column
        bore = 2 * np.sqrt(np.clip(radius * radius - down * down - across * across, 0, None)) * pitch
        patch = tubes[top:bottom, left:right]
        np.maximum(patch, (bore * share).astype(np.float32), out=patch)


def soft_tubes(tissue: Tissue) -> Field:
    """Return the tubes with walls as soft as tissue; mm of gland."""
    return blur(tissue.tubes, 0.7)
