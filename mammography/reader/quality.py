"""Whether an image is of the kind that the reader was taught on: an image of another kind is withheld, not marked.

A detector that meets what it never saw floods a radiologist with marks. Everything measured here can be measured
without knowing what is on the image: the power law of its texture (Burgess 2001), its noise, its edges.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from mammography.header import number_of, stated
from mammography.mammogram import FOR_PROCESSING, Mammogram
from mammography.reader.plan import QualityBounds
from mammography.reader.preprocessing import Prepared
from mammography.view import Laterality, ViewModifier

REGION_MM = 17.92
"""Side of the squares over which spectra are taken: 256 pixels at 0.07 mm."""
MOST_REGIONS = 16
STRANGE_REMARK = "Texture or noise of the image are unlike those that the reader was taught on."
_ROW_STEP = 4
"""Of so many rows one is looked at, where rows are alike."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Texture:
    """The spectrum of a breast whose 5 to 95 % range is 1.

    `beta`: exponent of the power law from 0.15 to 1 /mm. `power`: at 1 /mm, in mm2. `fall`: power at 1 /mm over
    that at 6.5 /mm, or at the highest frequency of a coarser pitch.
    """

    beta: float
    power: float
    fall: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Quality:
    """What was measured on one prepared image, before anything is said of it.

    `texture` is None where the breast holds no square of REGION_MM. `noise`: deviation of neighbouring pixels over
    the breast's 5 to 95 % range. `edges`: per square centimetre, how often a bright step is whole within one
    pixel, which no detector's blur allows. `blocks`: differences across lines of every eighth pixel over those
    beside them. `flat`: share of pixels that equal their neighbours. `area_mm2`: searched. `unread`: share of the
    breast in which nothing can be seen.
    """

    texture: Texture | None
    noise: float
    edges: float
    blocks: float
    flat: float
    area_mm2: float
    unread: float


def measure_quality(prepared: Prepared) -> Quality:
    """Return what can be measured of a prepared image's quality."""
    value = prepared.image[0, 0].numpy()
    searched = prepared.breast
    sample = value[::_ROW_STEP, ::2][searched[::_ROW_STEP, ::2]]
    if sample.size < 64:
        low, high = 0.0, 1.0
    else:
        low, high = (float(level) for level in np.quantile(sample, (0.05, 0.95)))
    span = max(high - low, 1e-6)
    area_mm2 = float(np.count_nonzero(searched)) * prepared.spacing_mm**2
    noise = _noise(value, searched) / span
    rows, inside = value[::_ROW_STEP], searched[::_ROW_STEP]
    steps = np.diff(rows, axis=1)
    return Quality(
        texture=_texture(value, searched, prepared.spacing_mm, span),
        noise=noise,
        edges=_ROW_STEP
        * _edges(rows, steps, inside, max(8 * noise, 0.05) * span)
        / max(area_mm2 / 100, 1e-6),
        blocks=_blocks(steps, inside),
        flat=_flat(steps, inside),
        area_mm2=area_mm2,
        unread=prepared.unread,
    )


def fault_of(quality: Quality, bounds: QualityBounds) -> str | None:
    """Return the sentence why an image of this quality is withheld whatever is found on it, or None."""
    for at_fault, sentence in (
        (
            quality.area_mm2 < bounds.least_area_mm2,
            f"only {quality.area_mm2 / 100:.1f} cm2 of breast can be read",
        ),
        (quality.unread > bounds.unread, f"{quality.unread:.0%} of the breast is saturated or covered"),
        (
            quality.flat > bounds.flat,
            f"{quality.flat:.0%} of the pixels equal their neighbours, as after a coarse rounding or an enlargement",
        ),
        (quality.blocks > bounds.blocks, "the pixels lie in blocks, as after a strong lossy compression"),
        (
            quality.edges > bounds.edges,
            f"{quality.edges:.0f} edges per cm2 are sharper than a detector can show",
        ),
        (
            quality.noise > bounds.noise,
            f"neighbouring pixels differ by {quality.noise:.0%} of the breast's range, which is noise or sharpening",
        ),
    ):
        if at_fault:
            return _withheld(sentence)
    texture = quality.texture
    if texture is None:
        return None
    for value, (low, high), name in (
        (texture.beta, bounds.beta, "power law"),
        (texture.power, bounds.power, "strength"),
        (texture.fall, bounds.fall, "sharpness"),
    ):
        if not low <= value <= high:
            return _withheld(
                f"the {name} of its texture, {value:.3g}, is none of a mammogram ({low:g} to {high:g})"
            )
    return None


def flood_of(quality: Quality, bounds: QualityBounds, *, marks: int, scattered: int) -> str | None:
    """Return the sentence why an image that would get so many marks is withheld, or None.

    `scattered`: candidate points outside every mark.
    """
    if marks > bounds.most_marks_at_all:
        return _withheld(f"{marks} marks on one image are noise or an artefact")
    if marks <= bounds.most_marks:
        return None
    per_cm2 = scattered / max(quality.area_mm2 / 100, 1e-6)
    if per_cm2 > bounds.familiar_scatter:
        return _withheld(f"{marks} marks among {scattered} scattered points are noise or an artefact")
    if is_strange(quality, bounds):
        return _withheld(
            f"{marks} marks on an image unlike those that the reader was taught on are not trusted"
        )
    return None


def is_strange(quality: Quality, bounds: QualityBounds) -> bool:
    """Return whether an image's texture or noise is unlike those that the reader was taught on."""
    texture = quality.texture
    if texture is None or quality.noise > bounds.familiar_noise:
        return True
    return not all(
        low <= value <= high
        for value, (low, high) in (
            (texture.beta, bounds.familiar_beta),
            (texture.power, bounds.familiar_power),
            (texture.fall, bounds.familiar_fall),
        )
    )


def remarks_of(mammogram: Mammogram, prepared: Prepared) -> tuple[str, ...]:
    """Return sentences on what lowers the trust in a reading of this image."""
    header, view = mammogram.header, mammogram.view
    remarks = list(prepared.remarks)
    if mammogram.sop_class_uid == FOR_PROCESSING:
        remarks.append("The image For Processing was read; none For Presentation came with it.")
    displaced = view is not None and ViewModifier.IMPLANT_DISPLACED in view.modifiers
    if stated(header, "BreastImplantPresent") == "YES" and not displaced:
        remarks.append("The breast has an implant that is not displaced: what it covers was not read.")
    if (number_of(header, "BitsStored") or 16) <= 8:
        remarks.append("The pixels have no more than 8 bits, so that faint calcifications may be lost.")
    if "GENERATED_2D" in list(header.get("ImageType") or []):
        remarks.append("The image was generated from a tomosynthesis, which the reader was not taught on.")
    remarks += [sentence for sentence in (_side_remark(mammogram, prepared),) if sentence]
    return tuple(remarks)


def _side_remark(mammogram: Mammogram, prepared: Prepared) -> str | None:
    """Return the sentence that the chest wall is not where laterality and orientation put it, or None.

    Patient Orientation (PS3.3 C.7.6.1.1.1) names where rows and columns lead: rows that lead anterior begin at
    the chest wall. Where it is missing, a left breast is shown with the chest wall on the left.
    """
    side = mammogram.view.laterality if mammogram.view else None
    orientation = [str(value) for value in mammogram.header.get("PatientOrientation") or []]
    found = "right" if prepared.grid.mirrored else "left"
    if len(orientation) == 2 and orientation[0][:1] in {"A", "P"}:
        stated = "left" if orientation[0][0] == "A" else "right"
        if stated != found:
            return f"The chest wall lies on the {found}, where the orientation in the header puts the nipple."
        across = {Laterality.LEFT: "R", Laterality.RIGHT: "L"}
        other = {"R": "L", "L": "R"}
        if side in across and other[across[side]] in orientation[1]:
            return f"The header calls the breast {side.name.lower()}, but its orientation is that of the other one."
        return None
    expected = {Laterality.LEFT: "left", Laterality.RIGHT: "right"}.get(side) if side else None
    if expected and expected != found:
        return f"The chest wall lies on the {found}, where that of a {expected} breast is not expected."
    return None


def _withheld(sentence: str) -> str:
    """Return the whole sentence for an image that is not trusted."""
    return f"The result is withheld: {sentence}."


def _texture(
    value: NDArray[np.float32], searched: NDArray[np.bool_], spacing_mm: float, span: float
) -> Texture | None:
    """Return the mean spectrum of the squares that lie inside the breast, as three numbers."""
    side = round(REGION_MM / spacing_mm)
    corners = [
        (top, left)
        for top in range(0, value.shape[0] - side + 1, side // 2)
        for left in range(0, value.shape[1] - side + 1, side // 2)
        if searched[top : top + side : 8, left : left + side : 8].all()
    ]
    if not corners:
        return None
    taper = (np.hanning(side)[:, None] * np.hanning(side)[None]).astype(np.float32)
    total = np.zeros((side, side // 2 + 1))
    chosen = corners[:: -(-len(corners) // MOST_REGIONS)]
    for top, left in chosen:
        region = value[top : top + side, left : left + side]
        waves = fft.rfft2((region - region.mean()) * taper)
        total += np.square(waves.real) + np.square(waves.imag)
    total *= spacing_mm**2 / float(np.square(taper).sum()) / len(chosen) / span**2
    down, across = np.fft.fftfreq(side, spacing_mm), np.fft.rfftfreq(side, spacing_mm)
    radius = np.hypot(down[:, None], across[None])
    ring = np.rint(radius * side * spacing_mm).astype(int).ravel()
    power = np.bincount(ring, total.ravel()) / np.maximum(np.bincount(ring), 1)
    power = np.maximum(power, 1e-12)
    axis = np.arange(len(power)) / (side * spacing_mm)
    band = (axis > 0.15) & (axis < 1.0)
    slope = float(np.polyfit(np.log(axis[band]), np.log(power[band]), 1)[0])
    near, far = (float(power[round(f * side * spacing_mm)]) for f in (1.0, min(6.5, 0.46 / spacing_mm)))
    return Texture(beta=-slope, power=near, fall=near / far)


def _noise(value: NDArray[np.float32], searched: NDArray[np.bool_]) -> float:
    """Return the deviation of a pixel from its neighbours, by the diagonal difference of 2 x 2 pixels."""
    above, below = value[:: 2 * _ROW_STEP], value[1 :: 2 * _ROW_STEP]
    difference = (above[:, ::2] + below[:, 1::2] - above[:, 1::2] - below[:, ::2]) / 2
    inside = difference[searched[:: 2 * _ROW_STEP, ::2]]
    return float(1.4826 * np.median(np.abs(inside))) if inside.size else 0.0


def _edges(
    value: NDArray[np.float32], steps: NDArray[np.float32], searched: NDArray[np.bool_], least: float
) -> int:
    """Return how many steps of at least `least` are whole between two neighbouring pixels of a row."""
    step = np.abs(steps[:, 1:-1])
    whole = np.abs(value[:, 3:] - value[:, :-3])
    sharp = (step > least) & (step > 0.93 * whole) & (step < 1.2 * whole) & searched[:, 1:-2]
    return int(np.count_nonzero(sharp))


def _blocks(steps: NDArray[np.float32], searched: NDArray[np.bool_]) -> float:
    """Return by how much the strongest of the eight phases of column differences stands out from their median."""
    step = np.abs(steps) * searched[:, 1:]
    count = searched[:, 1:].sum(0).astype(np.float64)
    total = step.sum(0, dtype=np.float64)
    phases = np.array([total[phase::8].sum() / max(count[phase::8].sum(), 1.0) for phase in range(8)])
    return float(phases.max() / max(np.median(phases), 1e-9))


def _flat(steps: NDArray[np.float32], searched: NDArray[np.bool_]) -> float:
    """Return the share of pixels that equal their right neighbour."""
    same = (steps == 0) & searched[:, 1:]
    return int(np.count_nonzero(same)) / max(int(np.count_nonzero(searched[:, 1:])), 1)
