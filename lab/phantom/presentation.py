"""From the detector's signal to the picture that a vendor sends For Presentation, 12 bit.

Logarithm, thickness equalisation, flattening, sharpening, then the vendor's own tone curve. Grey scales differ
between vendors by a factor of six, and noise rises with brightness on every digital system.
"""

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

from lab.phantom.anatomy import Anatomy
from lab.phantom.detector import MU_FAT, MU_GLAND, Exposure
from lab.phantom.fields import Field, blur, enlarge, shrink, smooth_step

WHITE = 4095.0
NARROWEST = 0.35
"""The least range of line integrals that is spread over a vendor's grey scale: noise would fill it."""
FINE_PIXELS = 1.2
"""The blur whose remainder is the fine detail that sharpening lifts."""
STRUCTURE_MM = (0.25, 1.0)
"""Between these blurs lies the structure that noise is weighed against."""
USUAL_NOISE = 0.42
"""The noise of a pixel of 0.07 mm over that structure at which fine detail gets the vendor's own gain."""
REGULATION, REGULATED = 0.8, (0.5, 2.0)
"""How steeply the gain follows that ratio, and within which bounds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Vendor:
    """A vendor's habits. `dark`, `bright`: stored values at the 5 and 95 % quantile of the breast.

    `curve`: how much steeper the bright end is than the dark one, as an exponent. `flatten`, `sharpen`: ranges of
    the share of the low-pass that is removed and of the gain of fine detail. `spacing_mm` is the usual pitch.
    """

    name: str
    dark: tuple[float, float]
    bright: tuple[float, float]
    curve: tuple[float, float]
    flatten: tuple[float, float]
    sharpen: tuple[float, float]
    air: float
    spacing_mm: float


VENDORS: tuple[Vendor, ...] = (
    Vendor(
        name="alpha",
        dark=(330, 480),
        bright=(2300, 2600),
        curve=(0.3, 0.7),
        flatten=(0.45, 0.85),
        sharpen=(0.1, 0.45),
        air=0,
        spacing_mm=0.07,
    ),
    Vendor(
        name="beta",
        dark=(500, 650),
        bright=(2300, 2650),
        curve=(0.2, 0.6),
        flatten=(0.4, 0.75),
        sharpen=(0.1, 0.4),
        air=0,
        spacing_mm=0.085,
    ),
    Vendor(
        name="gamma",
        dark=(2150, 2230),
        bright=(2650, 2800),
        curve=(0.2, 0.5),
        flatten=(0.45, 0.8),
        sharpen=(0.0, 0.3),
        air=60,
        spacing_mm=0.1,
    ),
    Vendor(
        name="delta",
        dark=(850, 980),
        bright=(1850, 2050),
        curve=(0.2, 0.6),
        flatten=(0.3, 0.7),
        sharpen=(0.1, 0.5),
        air=27,
        spacing_mm=0.05,
    ),
    Vendor(
        name="epsilon",
        dark=(1720, 1880),
        bright=(2300, 2550),
        curve=(-0.8, -0.4),
        flatten=(0.2, 0.5),
        sharpen=(0.0, 0.3),
        air=1500,
        spacing_mm=0.1,
    ),
)
"""Invented vendors; their grey scales are those that real ones have."""


def vendor_named(name: str) -> Vendor:
    """Return the vendor of that name."""
    return next(vendor for vendor in VENDORS if vendor.name == name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Presentation:
    """A picture For Presentation: stored values as float, and the window that shows it well."""

    values: Field
    window_center: float
    window_width: float


def present(exposure: Exposure, anatomy: Anatomy, vendor: Vendor, rng: Generator) -> Presentation:
    """Return the picture that a vendor makes of an exposure."""
    inside = anatomy.inside
    weight = inside.astype(np.float32)
    tone = np.float32(np.log(exposure.plan.quanta)) - np.log(exposure.signal)
    removed = -_equalised(anatomy, rng)
    coarse = shrink(tone, 4) - removed
    muscle = anatomy.pectoral * np.float32(_muscle_step(coarse, anatomy))
    for sigma_mm, share in (
        (rng.uniform(8, 18), rng.uniform(*vendor.flatten)),
        (rng.uniform(2.5, 5), rng.uniform(0, 0.3)),
    ):
        low = _inner_low_pass(coarse - muscle, weight, sigma_mm / (anatomy.window.spacing_mm * 4))
        level = float(low[inside].mean()) if inside.any() else 0.0
        part = np.where(inside, low - level, 0).astype(np.float32) * np.float32(share)
        coarse = coarse - part
        removed = removed + part
    removed = removed + muscle * np.float32(rng.uniform(0.2, 1.0))
    tone -= enlarge(removed, 4)
    detail = tone - blur(tone, FINE_PIXELS, truncate=2.5)
    gain = (1 + rng.uniform(*vendor.sharpen)) * _regulation(tone, coarse, anatomy) - 1
    tone += np.float32(gain) * detail
    for sigma_mm, gain in ((0.28, rng.uniform(0, 0.5)), (rng.uniform(1.2, 2.5), rng.uniform(0.2, 0.8))):
        low = _inner_low_pass(coarse, weight, sigma_mm / (anatomy.window.spacing_mm * 4))
        tone += np.float32(gain) * (tone - enlarge(low, 4))
    return _toned(tone, anatomy, vendor, rng)


def _regulation(tone: Field, coarse: Field, anatomy: Anatomy) -> float:
    """Return by what the gain of fine detail is multiplied: less where noise would be lifted, more where there is little.

    `coarse`: the tone on 4 x 4 pixels, whose middle scales tell how much structure there is to see. Noise is taken from
    the diagonal difference of 2 x 2 pixels, which structure hardly reaches.
    """
    deep = (anatomy.depth > 3) & (anatomy.pectoral < 0.3)
    if deep.sum() < 100:
        return 1.0
    fine, wide = (sigma_mm / (anatomy.window.spacing_mm * 4) for sigma_mm in STRUCTURE_MM)
    structure = (blur(coarse, fine, truncate=2.5) - blur(coarse, wide, truncate=2.5))[deep].std()
    first, second = tone[::4, ::4] + tone[1::4, 1::4], tone[::4, 1::4] + tone[1::4, ::4]
    noise = (first - second)[deep].std() / 2
    usual = USUAL_NOISE * structure * 0.07 / anatomy.window.spacing_mm
    return float(np.clip((usual / max(noise, 1e-6)) ** REGULATION, *REGULATED))


def _equalised(anatomy: Anatomy, rng: Generator) -> Field:
    """Return what thickness equalisation adds where the breast is thinner than between the paddles."""
    full = float(anatomy.thickness.max())
    fill = MU_FAT + 0.08 * (MU_GLAND - MU_FAT)
    missing = (full - anatomy.thickness) * anatomy.inside * (fill * rng.uniform(0.75, 1.0))
    return np.minimum(blur(missing.astype(np.float32), 0.5 / (anatomy.window.spacing_mm * 4)), 3.0)


def _muscle_step(tone: Field, anatomy: Anatomy) -> float:
    """Return part of the step from the breast to the muscle, which flattening leaves alone: no halo at its edge."""
    muscle = anatomy.pectoral > 0.9
    beside = anatomy.inside & (anatomy.pectoral < 0.1) & (anatomy.depth > 5)
    if not muscle.any() or not beside.any():
        return 0.0
    return 0.4 * float(tone[muscle].mean() - tone[beside].mean())


def _inner_low_pass(values: Field, weight: Field, sigma: float) -> Field:
    """Return the Gaussian mean over the breast alone; it is computed on a coarser grid."""
    step = 2 if sigma > 8 else 1
    rows, columns = values.shape
    if step > 1 and rows % step == 0 and columns % step == 0:
        top = blur(shrink(values * weight, step), sigma / step, truncate=2.5)
        bottom = blur(shrink(weight, step), sigma / step, truncate=2.5)
        return enlarge(top / np.maximum(bottom, 0.05), step)
    top = blur(values * weight, sigma, truncate=2.5)
    return top / np.maximum(blur(weight, sigma, truncate=2.5), 0.05)


def _toned(tone: Field, anatomy: Anatomy, vendor: Vendor, rng: Generator) -> Presentation:
    """Return stored values: the vendor's curve inside, air outside, and a soft skin line between."""
    sample = tone[::8, ::8][(anatomy.depth[::2, ::2] > 2) & (anatomy.pectoral[::2, ::2] < 0.3)]
    if sample.size < 10:
        sample = tone[::8, ::8].ravel()
    low, high = np.quantile(sample, [0.05, 0.95])
    dark, bright = rng.uniform(*vendor.dark), rng.uniform(*vendor.bright)
    curve = rng.uniform(*vendor.curve)
    share = (tone - np.float32(low)) * np.float32(1 / max(high - low, NARROWEST))
    bent = np.exp(np.clip(share, -4, 2.2) * np.float32(curve)) - 1
    values = np.float32(dark) + np.float32((bright - dark) / (np.exp(curve) - 1)) * bent
    knee = np.float32(bright + 0.5 * (WHITE - bright))
    room = np.float32(WHITE - knee)
    over = np.maximum(values - knee, 0)
    values = np.minimum(values, knee) + room * (1 - np.exp(-over / room))
    edge = enlarge(smooth_step(anatomy.depth / rng.uniform(0.5, 1.0)), 4)
    outside = np.float32(vendor.air)
    values = outside + (np.maximum(values, outside) - outside) * edge
    center = (dark + bright) / 2
    return Presentation(
        values=values, window_center=float(round(center)), window_width=float(round((bright - dark) * 1.45))
    )
