"""Where the breast is on an image, and where on it nothing can be read.

Everything here works on blocks of MASK_STEP x MASK_STEP stored pixels, on values that grow with density.
"""

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import ConvexHull

from mammography.mammogram import UnreadableMammogram
from mammography.reader.masks import Mask, grown, shrunk

MASK_STEP = 8
"""Stored pixels per element of a breast mask, in rows and in columns."""
SMALLEST_BREAST_MM2 = 400.0
BRIDGE_MM = 3.0
"""What hangs on the breast by less than this is a label, a cable or a second breast."""
FOLD_MM, FOLD_DEPTH_MM, FOLD_MARGIN_MM = 2.0, 15.0, 1.5
"""A bright fold is at least so thick, touches the air within as much, reaches so deep, and spoils so much around."""
FOLD_DEVIATIONS = 4.0
"""A fold is brighter by as many deviations than what else lies as deep under the skin."""
SMOOTH_SHARE = 0.1
"""What has less than this share of a breast's structure is air behind a paddle."""
LARGEST_SHARE = 0.95
"""A breast fills no more than this share of an image; beside it there is air."""
AIR_STRUCTURE = 0.5
"""Air has less than this share of the structure of a breast's rougher parts."""
ROUGH_SHARE = 0.75
"""The quantile of structure that those have; a bright muscle may fill half of a film."""
THICKEST_BORDER = 0.08
"""A border along an edge takes no more than this share of the image."""
SMALLEST_SATURATED_MM2 = 10.0
SMALLEST_IMPLANT_MM2, IMPLANT_NECK_MM, IMPLANT_MARGIN_MM = 1500.0, 15.0, 3.0
IMPLANT_STRUCTURE, CONVEX_SHARE = 0.2, 0.9
"""An implant has less than this share of the structure of a breast's rougher parts, and fills more than this of its hull."""

_NO_BREAST = "No breast was found on the image."
_EXCHANGED = (
    "The dark part of the image has the structure of a breast, not the bright part: it may be inverted."
)
_NO_AIR = "The image shows no air beside a breast, so it is no whole view of one."
_NEIGHBOURHOOD = 5
"""Blocks, in rows and columns, over which structure is measured: 2.8 mm at 0.07 mm."""
BEYOND = _NEIGHBOURHOOD
"""How many blocks beyond a breast decide what is seen in it."""

Values: TypeAlias = NDArray[np.floating[Any]]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Blocks:
    """An image in blocks of MASK_STEP, rounded up: [rows / MASK_STEP, columns / MASK_STEP] each.

    `mean`: of the block's values. `flat`: all its values are one. `saturated`: at least half of them are the
    highest of the image.
    """

    mean: NDArray[np.float32]
    flat: Mask
    saturated: Mask

    @classmethod
    def of(cls, values: Values) -> "Blocks":
        """Return the blocks of an image [rows, columns]; the last ones repeat its edge."""
        rows, columns = values.shape
        if rows % MASK_STEP or columns % MASK_STEP:
            values = np.pad(values, ((0, -rows % MASK_STEP), (0, -columns % MASK_STEP)), mode="edge")
        tall = values.reshape(values.shape[0] // MASK_STEP, MASK_STEP, values.shape[1])
        wide = (len(tall), -1, MASK_STEP)
        lowest, highest = _folded(np.minimum, tall.min(1)), _folded(np.maximum, tall.max(1))
        saturated = highest == highest.max()
        down, across = np.nonzero(saturated)
        full = tall.reshape(len(tall), MASK_STEP, -1, MASK_STEP)[down, :, across] == highest.max()
        saturated[down, across] = full.mean((1, 2)) >= 0.5
        return cls(
            mean=tall.mean(1).reshape(wide).mean(2).astype(np.float32),
            flat=lowest == highest,
            saturated=saturated,
        )

    def part(self, where: tuple[slice, ...]) -> "Blocks":
        """Return some rows and columns of the blocks."""
        return Blocks(mean=self.mean[where], flat=self.flat[where], saturated=self.saturated[where])

    def mirrored(self) -> "Blocks":
        """Return the blocks of the mirrored image, whose columns must be a multiple of MASK_STEP."""
        return Blocks(mean=self.mean[:, ::-1], flat=self.flat[:, ::-1], saturated=self.saturated[:, ::-1])


def breast_mask(values: Values, spacing_mm: float) -> Mask:
    """Return where the breast is: [rows / MASK_STEP, columns / MASK_STEP], rounded up, skin included.

    Air is told from breast by Otsu's threshold on the logarithm of the value above the darkest. Blocks of one
    single value (labels, borders, paddings) are no breast. The largest piece is the breast, without what hangs
    on it by less than BRIDGE_MM, its holes filled.

    Raises:
        UnreadableMammogram: if nothing the size of a breast is left, or bright and dark seem exchanged.
    """
    return breast_of(Blocks.of(values), spacing_mm)


def breast_of(blocks: Blocks, spacing_mm: float) -> Mask:
    """Return where the breast is among the blocks of an image, as `breast_mask` says."""
    size = spacing_mm * MASK_STEP
    bright = _bright(blocks)
    depth = max(2, round(BRIDGE_MM / 2 / size))
    pieces, count = ndimage.label(_opened(bright, depth))
    if not count:
        raise UnreadableMammogram(_NO_BREAST)
    largest = pieces == 1 + int(np.argmax(np.bincount(pieces.ravel())[1:]))
    breast = _filled(grown(largest, 2) & bright, depth)
    if breast.sum() * size**2 < SMALLEST_BREAST_MM2:
        raise UnreadableMammogram(_NO_BREAST)
    _refuse_without_air(blocks.mean, breast)
    return breast


def unreadable_areas(blocks: Blocks, breast: Mask, spacing_mm: float) -> Mask:
    """Return where within a breast nothing can be seen: saturated areas, and bright folds at the outline."""
    size = spacing_mm * MASK_STEP
    hidden = _large(blocks.saturated & breast, SMALLEST_SATURATED_MM2 / size**2)
    depth = size * ndimage.distance_transform_edt(np.pad(breast, 1, mode="edge"))[1:-1, 1:-1]
    shallow = breast & (depth < FOLD_DEPTH_MM)
    if breast.all() or not shallow.any():
        return hidden
    level = np.median(blocks.mean[shallow])
    deviation = 1.4826 * np.median(np.abs(blocks.mean[shallow] - level))
    bright = shallow & (blocks.mean > level + FOLD_DEVIATIONS * deviation)
    if bright.any():
        bright = _opened(bright, max(1, round(FOLD_MM / 2 / size)))
    pieces, _ = ndimage.label(bright)
    near = np.unique(pieces[depth < FOLD_MM])
    fold = (pieces > 0) & np.isin(pieces, near)
    around = max(1, round(FOLD_MARGIN_MM / size))
    return grown(hidden | fold, around) & breast


def implant_area(blocks: Blocks, breast: Mask, spacing_mm: float) -> Mask | None:
    """Return where an implant is, with a margin, or None; the chest wall is left.

    An implant is a large, convex, bright area almost without structure; what reaches into the upper corner at the
    chest wall is the pectoral muscle.
    """
    size = spacing_mm * MASK_STEP
    margin = max(1, round(IMPLANT_MARGIN_MM / size))
    inner = shrunk(breast, margin, beyond=True)
    if not inner.any():
        return None
    structure = _structure(blocks.mean)
    smooth = inner & (structure < IMPLANT_STRUCTURE * np.quantile(structure[inner], 0.75))
    smooth &= blocks.mean > _otsu(blocks.mean[inner])
    smooth = _opened(smooth, round(IMPLANT_NECK_MM / 2 / size))
    pieces, count = ndimage.label(_large(smooth, SMALLEST_IMPLANT_MM2 / size**2))
    muscle = np.zeros_like(breast)
    top, left, height, width = _extent(breast)
    muscle[top : top + height // 8, left : left + width // 8] = True
    for number in range(1, count + 1):
        piece = ndimage.binary_fill_holes(pieces == number)
        if not (piece & muscle).any() and piece.sum() > CONVEX_SHARE * _hull_area(piece):
            return grown(piece, margin + _NEIGHBOURHOOD // 2) & breast
    return None


def _folded(extreme: np.ufunc, rows: Values) -> Values:
    """Return the extreme of every MASK_STEP values in a row; to halve a row thrice takes a tenth of a reduction."""
    for _ in range(MASK_STEP.bit_length() - 1):
        rows = extreme(rows[:, ::2], rows[:, 1::2])
    return rows


def _extent(mask: Mask) -> tuple[int, int, int, int]:
    """Return the top, left, height and width of a mask's elements."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return int(rows[0]), int(columns[0]), int(np.ptp(rows)) + 1, int(np.ptp(columns)) + 1


def _hull_area(piece: Mask) -> float:
    """Return the area of the convex hull of a mask's elements, in elements."""
    edge = piece & ~ndimage.binary_erosion(piece)
    places = np.argwhere(edge)
    corners = np.concatenate([places + shift for shift in ((0, 0), (0, 1), (1, 0), (1, 1))])
    return float(ConvexHull(corners).volume)


def _bright(blocks: Blocks) -> Mask:
    """Return the blocks that are brighter than air and not all of one value."""
    candidates = blocks.mean[~blocks.flat]
    if candidates.size < 2:
        raise UnreadableMammogram(_NO_BREAST)
    low, high = float(np.quantile(blocks.mean, 0.001)), float(np.quantile(candidates, 0.999))
    if high <= low:
        raise UnreadableMammogram(_NO_BREAST)
    level = np.log1p(np.clip((blocks.mean - low) / (high - low), 0.0, 1.0) * 100.0)
    bright = _without_borders((level > _otsu(level)) & ~blocks.flat)
    if bright.sum() < 2:
        raise UnreadableMammogram(_NO_BREAST)
    # a paddle or scattered light is brighter than air, and as smooth; so is dark fat, but within the skin
    above = bright & (level > _otsu(level[bright]))
    between = bright & ~above
    structure = _structure(blocks.mean)
    within = [shrunk(part, _NEIGHBOURHOOD, beyond=False) for part in (between, above)]
    if min(part.sum() for part in within) < _NEIGHBOURHOOD**2:
        return bright
    smooth, rough = (float(np.median(structure[part])) for part in within)
    enclosed = (between & _behind(above)).sum() > between.sum() / 2
    return bright if enclosed or smooth >= SMOOTH_SHARE * rough else above


def _behind(mask: Mask) -> Mask:
    """Return what lies in a row between the chest wall and the last element of a mask."""
    outwards = mask if _wall_is_left(mask) else mask[:, ::-1]
    behind = np.maximum.accumulate(outwards[:, ::-1], axis=1)[:, ::-1]
    return behind if outwards is mask else behind[:, ::-1]


def _wall_is_left(mask: Mask) -> bool:
    """Return whether most of a mask lies in the left half of the image."""
    half = mask.shape[1] // 2
    return bool(mask[:, :half].sum() >= mask[:, -half:].sum())


def _filled(breast: Mask, depth: int) -> Mask:
    """Return the breast with its gaps closed, also those that are open to the chest wall."""
    breast = _opened(breast, depth, closing=True)
    wall = (1, 0) if _wall_is_left(breast) else (0, 1)
    walled = ndimage.binary_fill_holes(np.pad(breast, ((0, 0), wall), constant_values=True))
    return np.asarray(walled[:, wall[0] : walled.shape[1] - wall[1]], dtype=np.bool_)


def _without_borders(bright: Mask) -> Mask:
    """Return a mask without bright lines along an edge: the edge of a collimator, or of a digitised film."""
    bright = bright.copy()
    for turns in range(4):
        lines = np.rot90(bright, turns)  # a view: what is written to it is written to `bright`
        covered = lines[: round(THICKEST_BORDER * len(lines))].mean(1)
        whole = int(np.argmin(np.append(covered, 0.0) > 0.95))
        if 0 < whole < len(covered) - 2 and covered[whole + 1] < 0.7:
            lines[: whole + 1] = False
    return bright


def _refuse_without_air(mean: Values, breast: Mask) -> None:
    """Refuse an image in which nothing beside the bright part is as dark and as smooth as air.

    Structure is that of means over the neighbourhood, which the grain of film in dark air hardly reaches.
    """
    if breast.mean() > LARGEST_SHARE:
        raise UnreadableMammogram(_NO_AIR)
    if np.median(mean[~breast]) > np.median(mean[breast]):
        raise UnreadableMammogram(_EXCHANGED)
    structure = _structure(ndimage.uniform_filter(mean, _NEIGHBOURHOOD))
    inside, outside = (shrunk(part, _NEIGHBOURHOOD, beyond=True) for part in (breast, ~breast))
    if not inside.any() or outside.sum() < breast.sum() / 10:
        return
    rough = float(np.quantile(structure[inside], ROUGH_SHARE))
    share = float(np.median(structure[outside])) / max(rough, 1e-6)
    if share > AIR_STRUCTURE:
        raise UnreadableMammogram(_EXCHANGED if share > 1 / AIR_STRUCTURE else _NO_AIR)


def _structure(mean: Values) -> NDArray[np.float32]:
    """Return the deviation of blocks from the mean of their neighbourhood."""
    around = ndimage.uniform_filter(mean, _NEIGHBOURHOOD)
    squares = ndimage.uniform_filter(np.square(mean - around), _NEIGHBOURHOOD)
    return np.asarray(np.sqrt(np.maximum(squares, 0.0)), dtype=np.float32)


def _opened(mask: Mask, depth: int, *, closing: bool = False) -> Mask:
    """Return a mask without parts thinner than twice `depth` blocks, or with such gaps closed; its edges go on."""
    padded = np.pad(mask, 2 * depth, mode="edge")
    if closing:
        padded = shrunk(grown(padded, depth), depth, beyond=False)
    else:
        padded = grown(shrunk(padded, depth, beyond=False), depth)
    return padded[2 * depth : -2 * depth, 2 * depth : -2 * depth]


def _large(mask: Mask, fewest: float) -> Mask:
    """Return the pieces of a mask that have at least so many elements."""
    pieces, _ = ndimage.label(mask)
    sizes = np.bincount(pieces.ravel())
    sizes[0] = 0
    return np.asarray((sizes >= fewest)[pieces], dtype=np.bool_)


def _otsu(level: Values) -> float:
    """Return the threshold between the two classes of values that differ most (Otsu 1979)."""
    counts, edges = np.histogram(level.astype(np.float64), bins=128)
    middles = (edges[:-1] + edges[1:]) / 2
    below = np.cumsum(counts).astype(np.float64)
    weighted = np.cumsum(counts * middles)
    above = below[-1] - below
    with np.errstate(divide="ignore", invalid="ignore"):
        between = below * above * (weighted / below - (weighted[-1] - weighted) / above) ** 2
    return float(edges[1 + int(np.argmax(np.nan_to_num(between)))])
