"""How much a picture's texture is like a mammogram's, in three numbers: physics and not taste decides.

Measured on eight full-field views of one vendor: beta 2.6 to 3.2, power at 1/mm 3e-4 to 9e-4 mm2, and 18 to 42
times the power at 1/mm that there is at 6.5/mm. Burgess (2001) found beta 1.5 to 3.5 on many more.
"""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

REGION_MM = 35.84
BETA = (2.4, 3.3)
POWER = (1e-4, 1.5e-3)
FALL = (12.0, 90.0)
REAL_BETA = (2.59, 3.16)
REAL_POWER = (3.0e-4, 8.6e-4)
REAL_FALL = (18.0, 42.0)
"""The smallest and the largest of the eight real views; the bands above are wider."""
SKIN_MM = 8.0
FINE_MM = 0.5
LOCAL_MM = 18.0


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


@dataclass(frozen=True, slots=True, kw_only=True)
class GreyScale:
    """How stored values are spread within a breast; all but `fill` in stored values.

    `quantiles`: 5, 25, 50, 75 and 95 %. `noise`: deviation in the dark, middle and bright third. `fine`: deviation
    of what a Gaussian of 0.5 mm removes. `local`: median deviation in squares of 18 mm, nan where there is no room.
    `fill`: the breast's share of the frame, 0 to 1.
    """

    quantiles: tuple[float, float, float, float, float]
    noise: tuple[float, float, float]
    fine: float
    local: float
    fill: float


def measure_grey(pixels: NDArray[np.uint16], breast: NDArray[np.bool_], spacing_mm: float) -> GreyScale:
    """Return the grey scale of a picture For Presentation; `breast` has one element per 4 x 4 pixels.

    The skin is left out of `fine` and `local`, whose edge would hide the tissue.
    """
    rows, columns = pixels.shape
    deep = ndimage.binary_erosion(breast, iterations=max(round(SKIN_MM / (4 * spacing_mm)), 1))
    inside, within = (
        np.repeat(np.repeat(mask, 4, axis=0), 4, axis=1)[:rows, :columns] for mask in (breast, deep)
    )
    values = pixels.astype(np.float32)
    fine = (values - ndimage.gaussian_filter(values, FINE_MM / spacing_mm, truncate=3))[within]
    side = round(LOCAL_MM / spacing_mm)
    local = [
        float(values[top : top + side, left : left + side].std())
        for top in range(0, rows - side + 1, side)
        for left in range(0, columns - side + 1, side)
        if within[top : top + side, left : left + side].all()
    ]
    quantiles = np.quantile(pixels[inside][::31], [0.05, 0.25, 0.5, 0.75, 0.95])
    return GreyScale(
        quantiles=(
            float(quantiles[0]),
            float(quantiles[1]),
            float(quantiles[2]),
            float(quantiles[3]),
            float(quantiles[4]),
        ),
        noise=noise_by_brightness(pixels, breast),
        fine=float(fine.std()) if fine.size else float("nan"),
        local=float(np.median(local)) if local else float("nan"),
        fill=float(breast.mean()),
    )
