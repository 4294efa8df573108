"""Large bright structures: pieces of the class map, told by their shape, each with outline, kind and size.

Calcifications become benign findings; metal becomes what was seen and is no lesion.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from mammography.coordinates import ImagePoint
from mammography.finding import (
    METAL,
    Finding,
    FindingAssessment,
    FindingKind,
    Morphology,
    NonLesion,
    NonLesionKind,
    Speck,
)
from mammography.mammogram import Mammogram
from mammography.reader.clustering import outline_of
from mammography.reader.masks import grown
from mammography.reader.network import COARSE_CELL, Maps
from mammography.reader.plan import ReaderPlan
from mammography.reader.preprocessing import Prepared
from mammography.reader.prior import suspicion_of

JOIN_MM = 1.5
"""Pieces nearer than this are one structure: the two walls of a vessel, the halves of a broken rim."""
LEAST_METAL_MM2 = 1.0
"""Metal covers no less: a ball of 1.2 mm, as the smallest of the phantom's, covers 1.1 mm2."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LargeStructure:
    """One large bright structure.

    `cells`: [count, 2] of row, column on the coarse map. `score`: the mean probability that calcium, not metal,
    covers them, 0 to 1; `metal`: that metal does. `kind`: what it most likely is, metal left out, and `clear` how
    surely that.
    """

    cells: NDArray[np.intp]
    score: float
    metal: float
    kind: Morphology
    clear: float
    area_mm2: float


def large_of(maps: Maps, prepared: Prepared, plan: ReaderPlan) -> list[LargeStructure]:
    """Return the large structures inside the breast, best first; `plan.macro_score` says where one is."""
    chances = torch.softmax(maps.large[0].float(), dim=0).cpu().numpy()
    inside = prepared.breast[COARSE_CELL // 2 :: COARSE_CELL, COARSE_CELL // 2 :: COARSE_CELL]
    covered = (1.0 - chances[0] > plan.macro_score) & inside
    if not covered.any():
        return []
    cell_mm = COARSE_CELL * prepared.spacing_mm
    reach = max(1, round(JOIN_MM / 2 / cell_mm))
    pieces, _ = ndimage.label(grown(covered, reach), np.ones((3, 3)))
    pieces[~covered] = 0
    channel = plan.large.index(METAL) if METAL in plan.large else -1
    structures = []
    for number, box in enumerate(ndimage.find_objects(pieces), start=1):
        cells = np.argwhere(pieces[box] == number) + [side.start for side in box]
        shares = chances[1:, cells[:, 0], cells[:, 1]].mean(axis=1)
        metal = float(shares[channel]) if channel >= 0 else 0.0
        calcium = float(shares.sum()) - metal
        kinds = {name: float(share) for name, share in zip(plan.large, shares, strict=True) if name != METAL}
        likeliest = max(kinds, key=kinds.__getitem__)
        structures.append(
            LargeStructure(
                cells=cells,
                score=round(calcium, 4),
                metal=round(metal, 4),
                kind=Morphology(likeliest),
                clear=round(kinds[likeliest] / max(calcium, 1e-6), 4),
                area_mm2=len(cells) * cell_mm**2,
            )
        )
    return sorted(structures, key=lambda structure: -structure.score)


def reported(structure: LargeStructure, plan: ReaderPlan) -> bool:
    """Return whether a structure is sure and large enough to be a finding."""
    return structure.score >= plan.large_score and structure.area_mm2 >= plan.large_mm2


def is_metal(structure: LargeStructure, plan: ReaderPlan) -> bool:
    """Return whether a structure is as surely metal as a reported calcification is calcium, and no stray cells."""
    return structure.metal >= plan.large_score and structure.area_mm2 >= LEAST_METAL_MM2


def metal_of(structure: LargeStructure, prepared: Prepared, mammogram: Mammogram) -> NonLesion:
    """Return a structure as metal, which is no lesion (PS3.16 CID 6040)."""
    return NonLesion(kind=NonLesionKind.METAL, outline=_outline(structure, prepared, mammogram))


def large_finding(
    structure: LargeStructure, prepared: Prepared, mammogram: Mammogram, plan: ReaderPlan
) -> Finding:
    """Return a large structure as a benign finding whose one speck is the whole of it."""
    places = (structure.cells + 0.5) * COARSE_CELL
    row, column = places.mean(axis=0)
    return Finding(
        outline=_outline(structure, prepared, mammogram),
        specks=(
            Speck(
                center=prepared.grid.to_image(float(column), float(row)),
                score=structure.score,
                diameter_mm=round(math.sqrt(4 * structure.area_mm2 / math.pi), 3),
            ),
        ),
        detection=structure.score,
        suspicion=round(suspicion_of({structure.kind: 1.0}, {None: 1.0}), 4),
        assessment=FindingAssessment.BENIGN,
        morphology=structure.kind if structure.clear >= plan.morphology_score else None,
        kind=FindingKind.LARGE,
    )


def _outline(structure: LargeStructure, prepared: Prepared, mammogram: Mammogram) -> tuple[ImagePoint, ...]:
    """Return the convex polygon around a structure's cells, in stored pixels."""
    places = (structure.cells + 0.5) * COARSE_CELL
    centers = [prepared.grid.to_image(float(column), float(row)) for row, column in places]
    return outline_of(
        centers,
        [COARSE_CELL * prepared.spacing_mm] * len(centers),
        spacing_mm=mammogram.spacing_mm,
        rows=mammogram.rows,
        columns=mammogram.columns,
    )
