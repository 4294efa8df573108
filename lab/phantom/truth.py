"""What is known of a synthetic mammogram: every speck, every group, every trap."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mammography.coordinates import ImagePoint
from mammography.finding import LARGE_KINDS, LARGE_MORPHOLOGIES, METAL, Distribution, Morphology
from mammography.view import View

LARGE = frozenset(LARGE_MORPHOLOGIES)
"""Morphologies that are drawn into `Scene.large`: large structures rather than small specks."""
NOTHING_LARGE = -1
METAL_INDEX = LARGE_KINDS.index(METAL)

EASY_D_PRIME = 25.0
"""Below it a speck is clear of the noise but may hide in the anatomy: d' knows nothing of tissue."""
EASY_SPECKS = 5
EASY_EXTENT_MM = 20.0
MACRO_STEP = 4
"""Stored pixels per element of `Scene.large` and `Scene.breast`, in rows and in columns."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TruthSpeck:
    """One calcification: its centre of mass, its size, how visible it is, and the group it belongs to.

    `diameter_mm` is that of the disc of equal area, at the detector. `d_prime` is the matched filter's
    signal to noise ratio on the noise-free contrast, before anatomy hides it. `group` is -1 for a single.
    """

    center: ImagePoint
    diameter_mm: float
    d_prime: float
    group: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TruthGroup:
    """One lesion of one image.

    `easy`: at least five specks of d' >= 25, all well inside the breast, within 20 mm, no other group near.
    """

    number: int
    morphology: Morphology
    distribution: Distribution | None
    suspicious: bool
    easy: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Distractor:
    """Something bright that is no calcification, such as a clip, dust, or a fold of skin."""

    kind: str
    center: ImagePoint


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """One synthetic mammogram For Presentation and the whole truth about it, in the stored matrix's coordinates.

    `pixels`: [rows, columns], 12 bit, as stored before any MONOCHROME1 turn or compression; the chest wall is
    the left edge of a left breast and the right edge of a right one. `raw`: the detector's linear signal
    (For Processing), same shape, 14 bit. `large`, `breast`: [rows / 4, columns / 4], rounded up; `large` is the
    index in `mammography.finding.LARGE_KINDS` of the large thing that lies there, NOTHING_LARGE elsewhere.
    `spacing_mm`: in the breast, where that is less than the detector's pitch because the view is magnified.
    `nipple` may lie outside the matrix where the scene is a window of a larger breast.
    """

    seed: int
    pixels: NDArray[np.uint16]
    raw: NDArray[np.uint16]
    view: View
    spacing_mm: float
    specks: tuple[TruthSpeck, ...]
    groups: tuple[TruthGroup, ...]
    large: NDArray[np.int8]
    breast: NDArray[np.bool_]
    distractors: tuple[Distractor, ...]
    density: int
    nipple: ImagePoint
    vendor: str
    thickness_mm: float
    window_center: float
    window_width: float
    implant: bool = False

    @property
    def macro(self) -> NDArray[np.bool_]:
        """Where large calcifications lie, metal left out; [rows / 4, columns / 4]."""
        return np.asarray((self.large >= 0) & (self.large != METAL_INDEX))
