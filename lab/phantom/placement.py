"""Lesions put into one view of a breast: where each speck lies, and the calcium that it adds to each pixel."""

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from lab.phantom.anatomy import Anatomy
from lab.phantom.calcification import FINER, draw_shape
from lab.phantom.fields import Field, generator
from lab.phantom.lesions import LesionPlan, SpeckPlan
from lab.phantom.tissue import Path
from lab.phantom.truth import LARGE, MACRO_STEP, METAL_INDEX, NOTHING_LARGE
from mammography.finding import LARGE_KINDS, Distribution
from mammography.view import ViewPosition

APART_MM = 22.0
"""Two lesions' centres keep this distance where the breast is large enough."""
LEAST_METAL_MM = 0.05
"""Less metal than this hides nothing: grains of deodorant are no metal of the class map."""
_ALONG_DUCT = frozenset({Distribution.LINEAR, Distribution.SEGMENTAL})


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """Where a lesion's centre lies on the detector, mm; `slope`: rows per column towards the nipple."""

    down_mm: float
    across_mm: float
    slope: float


@dataclass(frozen=True, slots=True, kw_only=True)
class DrawnSpeck:
    """One speck on the window: its centre of mass in pixels (outer corner 0, 0), and its mm of calcium."""

    row: float
    column: float
    diameter_mm: float
    group: int
    top: int
    left: int
    thickness: Field


def choose_site(
    anatomy: Anatomy,
    gland: Field,
    rng: Generator,
    *,
    depth_mm: float | None = None,
    near_skin: bool = False,
    margin_mm: float = 8.0,
    taken: tuple[Site, ...] = (),
) -> Site:
    """Return a place inside the breast, more likely in glandular tissue, `depth_mm` behind the nipple if given.

    `gland` has one element per 2 x 2 pixels. Demands are given up one after the other where the breast is small.
    """
    down, across = (line[::2, ::2] for line in np.broadcast_arrays(*anatomy.window.centers(4)))
    depth, pectoral = anatomy.depth[::2, ::2], anatomy.pectoral[::2, ::2]
    likely = (0.25 + 0.75 * gland[::4, ::4]).astype(np.float64)
    free = np.ones(depth.shape, bool)
    for site in taken:
        free &= np.hypot(down - site.down_mm, across - site.across_mm) > APART_MM
    fixed = depth_mm is not None
    wanted = anatomy.nipple_across_mm - (depth_mm or 0.0)
    at_depth = (
        np.abs(across - wanted) < anatomy.window.spacing_mm * 8 if fixed else np.ones(depth.shape, bool)
    )
    deep = (depth > 1.2) & (depth < 4) if near_skin else depth > margin_mm
    for demands in (deep & free & (pectoral < 0.2), deep & (pectoral < 0.2), depth > 3, depth > 0.5):
        weights = np.cumsum((likely * (demands & at_depth)).ravel())
        if weights[-1] > 0:
            index = int(np.searchsorted(weights, rng.random() * weights[-1], side="right"))
            row, column = np.unravel_index(min(index, weights.size - 1), depth.shape)
            place = (float(down[row, column]), wanted if fixed else float(across[row, column]))
            return _site(anatomy, *place)
    return _site(anatomy, anatomy.nipple_down_mm, wanted if fixed else anatomy.nipple_across_mm * 0.6)


def _site(anatomy: Anatomy, down_mm: float, across_mm: float) -> Site:
    """Return a site with its slope towards the nipple, at most 45 degrees."""
    behind = max(anatomy.nipple_across_mm - across_mm, 5.0)
    slope = np.clip((anatomy.nipple_down_mm - down_mm) / behind, -1, 1)
    return Site(down_mm=down_mm, across_mm=across_mm, slope=float(slope))


def place_lesion(
    anatomy: Anatomy, lesion: LesionPlan, site: Site, group: int, position: ViewPosition, *, whole: bool
) -> list[DrawnSpeck]:
    """Return a lesion's specks in one view.

    Of a whole breast every speck is there: those that would lie outside are moved towards the lesion's centre.
    Of a window those are left out that lie beyond it.
    """
    rng = generator(lesion.seed, position.value)
    sheared = lesion.distribution in _ALONG_DUCT
    drawn = []
    for speck in lesion.specks:
        across = speck.across_cc_mm if position is ViewPosition.CC else speck.across_mlo_mm
        rise = -speck.back_mm * site.slope * sheared
        place = _pulled_inside(anatomy, site, speck, across + rise, least_mm=0.5 if lesion.near_skin else 1.2)
        direction = np.arctan(site.slope) if sheared else 0.0
        patch = draw_shape(
            speck.shape,
            direction + speck.turn,
            anatomy.window.spacing_mm,
            rng,
            from_above=position is ViewPosition.CC,
        )
        if not whole and not _within_window(anatomy, *place, margin_px=6):
            continue
        drawn.append(_on_pixels(anatomy, patch, place, speck.shape.equivalent_mm, group))
    return drawn


def _within_window(anatomy: Anatomy, down_mm: float, across_mm: float, margin_px: float) -> bool:
    """Return whether a point of the detector lies in the window, not too near its border."""
    window = anatomy.window
    row = (down_mm - window.top_mm) / window.spacing_mm
    column = (across_mm - window.left_mm) / window.spacing_mm
    return (
        margin_px < row < window.rows - 8 - margin_px and margin_px < column < window.columns - 8 - margin_px
    )


def _depth_at(anatomy: Anatomy, down_mm: float, across_mm: float) -> float:
    """Return mm inside the skin line at a point of the detector; beyond the window, that of its border."""
    pitch = anatomy.window.spacing_mm * 4
    row = int((down_mm - anatomy.window.top_mm) / pitch)
    column = int((across_mm - anatomy.window.left_mm) / pitch)
    rows, columns = anatomy.depth.shape
    return float(anatomy.depth[min(max(row, 0), rows - 1), min(max(column, 0), columns - 1)])


def _pulled_inside(
    anatomy: Anatomy, site: Site, speck: SpeckPlan, across: float, least_mm: float
) -> tuple[float, float]:
    """Return where a speck lies: its planned place, or nearer to the lesion's centre where that is outside."""
    shares = [
        (1.0, 1.0),
        (1.0, 0.6),
        (1.0, 0.3),
        (0.8, 0.2),
        (0.6, 0.5),
        (0.4, 0.3),
        (0.2, 0.15),
        (0.05, 0.05),
    ]
    place = (site.down_mm, site.across_mm)
    for keep_back, keep_across in shares:
        place = (site.down_mm + keep_across * across, site.across_mm - keep_back * speck.back_mm)
        if _depth_at(anatomy, *place) > least_mm and _within_window(anatomy, *place, margin_px=10):
            break
    return place


def _on_pixels(
    anatomy: Anatomy, patch: Field, place: tuple[float, float], diameter_mm: float, group: int
) -> DrawnSpeck:
    """Return a speck averaged from the finer grid to the window's pixels."""
    window = anatomy.window
    row = (place[0] - window.top_mm) / window.spacing_mm
    column = (place[1] - window.left_mm) / window.spacing_mm
    first_row = round(row * FINER - patch.shape[0] / 2)
    first_column = round(column * FINER - patch.shape[1] / 2)
    top, left = first_row // FINER, first_column // FINER
    rows = -(-(first_row - top * FINER + patch.shape[0]) // FINER)
    columns = -(-(first_column - left * FINER + patch.shape[1]) // FINER)
    fine = np.zeros((rows * FINER, columns * FINER), np.float32)
    from_row, from_column = first_row - top * FINER, first_column - left * FINER
    fine[from_row : from_row + patch.shape[0], from_column : from_column + patch.shape[1]] = patch
    thickness = fine.reshape(rows, FINER, columns, FINER).mean(axis=(1, 3), dtype=np.float32)
    total = max(float(thickness.sum()), 1e-9)
    return DrawnSpeck(
        row=float((thickness.sum(1) * (np.arange(rows) + 0.5)).sum() / total + top),
        column=float((thickness.sum(0) * (np.arange(columns) + 0.5)).sum() / total + left),
        diameter_mm=diameter_mm,
        group=group,
        top=top,
        left=left,
        thickness=thickness,
    )


def add_to(canvas: Field, patch: Field, top: int, left: int, factor: float = 1.0) -> None:
    """Add a patch to a canvas of pixels; what lies beyond the canvas is left out."""
    rows, columns = canvas.shape
    first_row, first_column = max(top, 0), max(left, 0)
    last_row, last_column = min(top + patch.shape[0], rows), min(left + patch.shape[1], columns)
    if last_row > first_row and last_column > first_column:
        canvas[first_row:last_row, first_column:last_column] += (
            np.float32(factor)
            * (patch[first_row - top : last_row - top, first_column - left : last_column - left])
        )


def large_structures(
    specks: list[DrawnSpeck], lesions: tuple[LesionPlan, ...], metal: Field
) -> NDArray[np.int8]:
    """Return the index in LARGE_KINDS of what lies there, one element per 4 x 4 pixels; metal hides calcium.

    `metal`: mm, one element per pixel of the window.
    """
    rows, columns = (-(-side // MACRO_STEP) for side in metal.shape)
    kinds = np.full((rows, columns), NOTHING_LARGE, np.int8)
    for speck in specks:
        if speck.group < 0 or lesions[speck.group].morphology not in LARGE:
            continue
        places = np.nonzero(speck.thickness > max(0.03, 0.08 * float(speck.thickness.max())))
        down, across = (places[0] + speck.top) // MACRO_STEP, (places[1] + speck.left) // MACRO_STEP
        kept = (down >= 0) & (across >= 0) & (down < rows) & (across < columns)
        kinds[down[kept], across[kept]] = LARGE_KINDS.index(lesions[speck.group].morphology.value)
    down, across = np.nonzero(metal > LEAST_METAL_MM)
    kinds[down // MACRO_STEP, across // MACRO_STEP] = METAL_INDEX
    return kinds


def vessel_of(lesion: LesionPlan, site: Site, position: ViewPosition, rng: Generator) -> Path:
    """Return the vessel whose walls a vascular lesion calcifies; it goes on a little beyond the calcium."""
    backs = np.array([speck.back_mm for speck in lesion.specks])
    across = np.array(
        [
            speck.across_cc_mm if position is ViewPosition.CC else speck.across_mlo_mm
            for speck in lesion.specks
        ]
    )
    steps = np.arange(backs.min() - 12, backs.max() + 12, 0.25)
    smooth = np.polynomial.Polynomial.fit(backs, across, 5)
    inner = np.clip(steps, backs.min(), backs.max())
    middle = smooth(inner) + (steps - inner) * float(rng.normal() * 0.2)
    down = site.down_mm + middle - steps * site.slope
    across_mm = site.across_mm - steps
    return Path(
        down=down,
        across=across_mm,
        direction=np.arctan2(np.gradient(down), np.gradient(across_mm)),
        radius=np.full(len(steps), lesion.vessel_mm),
    )
