"""A scene as the network learns it: what it sees, and what it should say, cell by cell; kept in one file each."""

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lab.phantom.truth import MACRO_STEP, Scene
from mammography.coordinates import Grid
from mammography.finding import LARGE_KINDS, METAL
from mammography.reader.network import CELL, COARSE_CELL, UNIT_DIAMETER
from mammography.reader.plan import ReaderPlan
from mammography.reader.preprocessing import MASK_STEP, Prepared, prepare

VISIBLE_D_PRIME = 5.0
"""Specks above this are to be found; fainter ones are neither asked for nor punished."""
NO_MORPHOLOGY = -1
NOTHING_LARGE = -1
UNKNOWN_LARGE = -2
"""In `Lesson.large`, where nobody knows."""
METAL_INDEX = LARGE_KINDS.index(METAL)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Lesson:
    """One prepared scene with its targets.

    `image`: [2, height, width], float16. At CELL: `heat` (0 to 1, 1 exactly at a centre), `weight` (0 where
    nothing is asked), `size` (as `Maps.size`, NaN where there is no centre). At COARSE_CELL: `large` (index in the
    plan's large kinds, NOTHING_LARGE elsewhere, UNKNOWN_LARGE where nobody knows), `morphology` (index in the plan, NO_MORPHOLOGY elsewhere), `bag`
    (number of a region in which at least one calcification lies, somewhere; 0 elsewhere). `specks`: [count, 5] of row, column (reader
    pixels), diameter in mm, d', group; `groups`: [count, 4] of number, morphology index, suspicious, easy.
    `distractors`: [count, 2] of row, column. `breast`: [height / 8, width / 8].
    """

    image: NDArray[np.float16]
    heat: NDArray[np.float16]
    weight: NDArray[np.bool_]
    size: NDArray[np.float16]
    large: NDArray[np.int8]
    morphology: NDArray[np.int8]
    bag: NDArray[np.int16]
    specks: NDArray[np.float32]
    groups: NDArray[np.int32]
    distractors: NDArray[np.float32]
    breast: NDArray[np.bool_]
    spacing_mm: float

    @property
    def macro(self) -> NDArray[np.bool_]:
        """Where large calcifications lie, metal left out; cells of COARSE_CELL."""
        return np.asarray((self.large >= 0) & (self.large != METAL_INDEX), dtype=np.bool_)


def lesson_of(scene: Scene, plan: ReaderPlan) -> Lesson:
    """Return what the network sees of a scene, and what it should say about it.

    Sides are multiples of 8, so that the scene's breast can stand for the mask: a window of a breast may hold
    no air to tell it from.
    """
    values = scene.pixels.astype(np.float32)
    breast = scene.breast[:: MASK_STEP // MACRO_STEP, :: MASK_STEP // MACRO_STEP]
    prepared = prepare(values, spacing_mm=scene.spacing_mm, plan=plan, mask=breast)
    grid = prepared.grid
    large = carried(scene.large, prepared)
    macro = carried(scene.macro, prepared)
    index = {morphology: position for position, morphology in enumerate(plan.morphologies)}
    groups = [
        (group.number, index.get(group.morphology, NO_MORPHOLOGY), group.suspicious, group.easy)
        for group in scene.groups
    ]
    specks = [
        (*grid.from_image(speck.center)[::-1], speck.diameter_mm, speck.d_prime, speck.group)
        for speck in scene.specks
    ]
    specks_array = np.array(specks, dtype=np.float32).reshape(-1, 5)
    groups_array = np.array(groups, dtype=np.int32).reshape(-1, 4)
    heat, weight, size = fine_targets(specks_array, macro, prepared)
    return Lesson(
        image=prepared.image[0].numpy().astype(np.float16),
        heat=heat,
        weight=weight,
        size=size,
        large=large,
        bag=np.zeros(large.shape, dtype=np.int16),
        morphology=_morphology(specks_array, groups_array, macro.shape),
        specks=specks_array,
        groups=groups_array,
        distractors=np.array(
            [grid.from_image(thing.center)[::-1] for thing in scene.distractors], dtype=np.float32
        ).reshape(-1, 2),
        breast=prepared.breast[::8, ::8],
        spacing_mm=prepared.spacing_mm,
    )


def write_lesson(lesson: Lesson, path: Path) -> None:
    """Write a lesson to one file, whole or not at all."""
    partial = path.with_name(f"partial-{path.name}")
    arrays = {field.name: np.asarray(getattr(lesson, field.name)) for field in fields(lesson)}
    np.savez(partial, allow_pickle=False, **arrays)
    partial.rename(path)


def read_lesson(path: Path) -> Lesson:
    """Read a lesson that `write_lesson` wrote."""
    with np.load(path, allow_pickle=False) as arrays:
        values = {field.name: arrays[field.name] for field in fields(Lesson)}
    return Lesson(**values | {"spacing_mm": float(values["spacing_mm"])})


def macro_at(macro: NDArray[np.bool_], row: float, column: float) -> bool:
    """Return whether a large calcification lies under a point in reader pixels."""
    across, down = int(column / COARSE_CELL), int(row / COARSE_CELL)
    return 0 <= down < macro.shape[0] and 0 <= across < macro.shape[1] and bool(macro[down, across])


def carried(map_: NDArray[Any], prepared: Prepared, *, step: int = MACRO_STEP) -> NDArray[Any]:
    """Return a map of the stored image, one element per `step` pixels, on the coarse cells of the prepared one."""
    height, width = prepared.image.shape[-2] // COARSE_CELL, prepared.image.shape[-1] // COARSE_CELL
    grid: Grid = prepared.grid
    columns = [grid.to_image((cell + 0.5) * COARSE_CELL, 0.0).column for cell in range(width)]
    rows = [grid.to_image(0.0, (cell + 0.5) * COARSE_CELL).row for cell in range(height)]
    down = np.clip(np.floor(np.array(rows) / step).astype(int), 0, map_.shape[0] - 1)
    across = np.clip(np.floor(np.array(columns) / step).astype(int), 0, map_.shape[1] - 1)
    return map_[np.ix_(down, across)]


def fine_targets(
    specks: NDArray[np.float32], macro: NDArray[np.bool_], prepared: Prepared
) -> tuple[NDArray[np.float16], NDArray[np.bool_], NDArray[np.float16]]:
    """Return heat, weight and size on the fine cells (CenterNet: Gaussians around centres, doubtful ones masked).

    `specks` as in a lesson; `macro`: where large calcifications lie, at COARSE_CELL; no single cell is asked there.
    """
    shape = (prepared.image.shape[-2] // CELL, prepared.image.shape[-1] // CELL)
    heat, size = np.zeros(shape, dtype=np.float32), np.full(shape, np.nan, dtype=np.float16)
    weight = ~np.kron(macro, np.ones((2, 2), dtype=np.bool_))
    asked = np.zeros(shape, dtype=np.bool_)
    for row, column, diameter_mm, d_prime, _ in specks:
        down, across = row / CELL - 0.5, column / CELL - 0.5
        radius = max(1.0, diameter_mm / prepared.spacing_mm / CELL / 2)
        reach = int(4 + radius)
        top, left = max(int(down) - reach, 0), max(int(across) - reach, 0)
        window = np.s_[top : int(down) + reach + 2, left : int(across) + reach + 2]
        if heat[window].size == 0 or macro_at(macro, row, column):
            continue
        rows, columns = np.mgrid[: heat[window].shape[0], : heat[window].shape[1]]
        distance = np.hypot(rows + top - down, columns + left - across)
        if d_prime < VISIBLE_D_PRIME:
            weight[window] &= distance >= radius + 2
            continue
        spot = np.exp(-0.5 * (distance / min(0.8 + 0.12 * radius, 2.0)) ** 2)
        center = np.unravel_index(int(np.argmin(distance)), distance.shape)
        if distance[center] >= 1.0:
            continue
        spot[center] = 1.0
        np.maximum(heat[window], spot, out=heat[window])
        size[window][center] = np.log2(max(diameter_mm, 0.05) / prepared.spacing_mm / UNIT_DIAMETER)
        asked[window] |= spot >= 0.3
    return heat.astype(np.float16), weight | asked, size


def _morphology(
    specks: NDArray[np.float32], groups: NDArray[np.int32], shape: tuple[int, ...]
) -> NDArray[np.int8]:
    """Return the morphology index of the group of every visible speck, at its coarse cell."""
    labels = np.full(shape, NO_MORPHOLOGY, dtype=np.int8)
    by_number = {int(number): int(morphology) for number, morphology, _, _ in groups}
    for row, column, _, d_prime, group in specks:
        down, across = int(row / COARSE_CELL), int(column / COARSE_CELL)
        if d_prime >= VISIBLE_D_PRIME and 0 <= down < shape[0] and 0 <= across < shape[1]:
            labels[down, across] = by_number.get(int(group), NO_MORPHOLOGY)
    return labels
