"""How much a picture's texture is like a mammogram's, in three numbers: physics and not taste decides.

Measured on eight full-field views of one vendor: beta 2.6 to 3.2, power at 1/mm 3e-4 to 9e-4 mm2, and 18 to 42
times the power at 1/mm that there is at 6.5/mm. Burgess (2001) found beta 1.5 to 3.5 on many more.
"""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

REGION_MM = 35.84
BETA = (2.4, 3.3)
POWER = (1e-4, 1.5e-3)
FALL = (12.0, 90.0)


class NoRoomForSpectrum(Exception):
    """No square of REGION_MM lies within the breast, so that its spectrum cannot be measured."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Texture:
    """The spectrum of a breast whose 5 to 95 % range is 1.

    `beta`: exponent of the power law from 0.15 to 1 /mm. `power`: at 1 /mm, in mm2. `fall`: power at 1 /mm
    over that at 6.5 /mm (or at the highest frequency of a coarser matrix).
    """

    beta: float
    power: float
    fall: float

    @property
    def like_a_mammogram(self) -> bool:
        """Whether all three numbers lie in their bands."""
        return (
            BETA[0] <= self.beta <= BETA[1]
            and POWER[0] <= self.power <= POWER[1]
            and FALL[0] <= self.fall <= FALL[1]
        )


def measure_texture(pixels: NDArray[np.uint16], breast: NDArray[np.bool_], spacing_mm: float) -> Texture:
    """Return the texture of a picture For Presentation; `breast` has one element per 4 x 4 pixels.

    Raises:
        NoRoomForSpectrum: if the breast is too small.
    """
    inside = np.repeat(np.repeat(breast, 4, axis=0), 4, axis=1)[: pixels.shape[0], : pixels.shape[1]]
    low, high = np.quantile(pixels[inside][::31], [0.05, 0.95])
    side = round(REGION_MM / spacing_mm)
    taper = np.hanning(side)[:, None] * np.hanning(side)[None]
    total = np.zeros((side, side))
    count = 0
    for top in range(0, pixels.shape[0] - side + 1, side // 2):
        for left in range(0, pixels.shape[1] - side + 1, side // 2):
            if not inside[top : top + side, left : left + side].all():
                continue
            region = pixels[top : top + side, left : left + side] / (high - low)
            waves = np.fft.fft2((region - region.mean()) * taper)
            total += np.abs(waves) ** 2 * spacing_mm**2 / (taper**2).sum()
            count += 1
    if not count:
        raise NoRoomForSpectrum(f"No square of {REGION_MM} mm lies within this breast.")
    frequencies = np.fft.fftfreq(side, spacing_mm)
    radius = np.hypot(frequencies[:, None], frequencies[None])
    ring = (radius * side * spacing_mm + 0.5).astype(int).ravel()
    power = np.bincount(ring, (total / count).ravel()) / np.bincount(ring)
    axis = np.arange(len(power)) / (side * spacing_mm)
    band = (axis > 0.15) & (axis < 1.0)
    slope = np.polyfit(np.log(axis[band]), np.log(power[band]), 1)[0]
    highest = min(6.5, 0.46 / spacing_mm)
    at = [float(power[int(np.argmin(np.abs(axis - frequency)))]) for frequency in (1.0, highest)]
    return Texture(beta=float(-slope), power=at[0], fall=at[0] / at[1])


def noise_by_brightness(pixels: NDArray[np.uint16], breast: NDArray[np.bool_]) -> tuple[float, float, float]:
    """Return the noise's deviation in the dark, middle and bright third of the breast, in stored values.

    Noise is taken from the diagonal difference of 2 x 2 pixels, which slow changes do not reach.
    """
    inside = np.repeat(np.repeat(breast, 4, axis=0), 4, axis=1)[: pixels.shape[0], : pixels.shape[1]]
    rows, columns = (side // 2 * 2 for side in pixels.shape)
    values = pixels[:rows, :columns].astype(np.float32)
    a, b, c, d = values[::2, ::2], values[::2, 1::2], values[1::2, ::2], values[1::2, 1::2]
    difference = ((a + d - b - c) / 2)[inside[:rows:2, :columns:2]]
    level = ((a + b + c + d) / 4)[inside[:rows:2, :columns:2]]
    edges = np.quantile(level, [0, 1 / 3, 2 / 3, 1])
    dark, middle, bright = (
        float(1.4826 * np.median(np.abs(difference[(level >= low) & (level <= high)])))
        for low, high in pairwise(edges)
    )
    return dark, middle, bright
