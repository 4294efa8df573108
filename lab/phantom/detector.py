"""What a detector measures behind a breast: quanta, scatter, blur and noise, and how visible a speck is in them."""

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

from lab.phantom.anatomy import Anatomy
from lab.phantom.fields import Field, blur, enlarge, shrink
from lab.phantom.placement import DrawnSpeck
from lab.phantom.tissue import Tissue, soft_tubes

MU_FAT, MU_GLAND, MU_SKIN = 0.0456, 0.0802, 0.080
"""Linear attenuation in 1/mm at about 20 keV (Johns and Yaffe 1987)."""
MU_CALCIUM = 0.80
"""Calcium oxalate less tissue, 1/mm."""
MU_METAL = 8.0
SKIN_MM = 1.5
EXCESS_NOISE = 1.15


@dataclass(frozen=True, slots=True, kw_only=True)
class DetectorPlan:
    """One exposure. `quanta`: per pixel behind the middle of the breast. Blurs are deviations in pixels."""

    quanta: float
    scatter: float
    blur: float
    grain: float
    electronic: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Exposure:
    """What the detector measured, and the noise-free signal, in quanta per pixel of the window."""

    signal: Field
    clean: Field
    plan: DetectorPlan
    median_attenuation: float


def plan_detector(rng: Generator, spacing_mm: float = 0.07) -> DetectorPlan:
    """Return an exposure drawn at random: about 100 uGy at the detector, whatever its pitch."""
    coarser = spacing_mm / 0.07
    return DetectorPlan(
        quanta=float(np.exp(rng.normal(np.log(5800), 0.22)) * coarser**2),
        scatter=float(rng.uniform(0.15, 0.45)),
        blur=float(rng.uniform(0.4, 0.7) / np.sqrt(coarser)),
        grain=float(rng.uniform(0.25, 0.5)),
        electronic=float(rng.uniform(3, 12)),
    )


def attenuation(anatomy: Anatomy, tissue: Tissue, extra: Field) -> Field:
    """Return the line integral through the breast, one element per 2 x 2 pixels; `extra` is added to it."""
    thickness = enlarge(anatomy.thickness, 2)
    depth = enlarge(anatomy.depth, 2)
    steep = np.sqrt(np.clip(anatomy.plan.thickness_mm / 10, 1, None))
    skin = np.where(depth < SKIN_MM, SKIN_MM * steep * np.clip(depth / 0.4, 0, 1), 2 * SKIN_MM)
    skin = blur(np.minimum(skin, thickness).astype(np.float32), 2)
    glandular = np.float32(MU_GLAND - MU_FAT)
    line = thickness * (MU_FAT + glandular * tissue.gland)
    line += soft_tubes(tissue) * (glandular * np.float32(0.8)) * (thickness > 2)
    line += skin * np.float32(MU_SKIN - MU_FAT)
    line += extra * (thickness > 0)
    return line


def expose(
    line: Field, inside: Field, calcium: Field, metal: Field, plan: DetectorPlan, rng: Generator
) -> Exposure:
    """Return what the detector measures behind a line integral [rows / 2], calcium and metal [rows] in mm.

    `inside`: where there is breast, one element per 4 x 4 pixels.
    """
    fine = enlarge(line, 2)
    sample = line[::8, ::8][inside[::4, ::4] > 0]
    median = float(np.median(sample)) if sample.size else float(np.median(line))
    primary = np.exp(np.float32(median) - fine)
    coarse = np.minimum(shrink(primary, 8), 6)
    scattered = enlarge(blur(coarse, 128 / 8, truncate=2.5), 8) * np.float32(plan.scatter)
    stopped = calcium * np.float32(-MU_CALCIUM)
    stopped -= metal * np.float32(MU_METAL)
    primary *= np.exp(stopped)
    primary += scattered
    primary *= np.float32(plan.quanta)
    clean = blur(primary, plan.blur)
    noise = rng.standard_normal(clean.shape, dtype=np.float32)
    if plan.grain > 0:
        noise = blur(noise, plan.grain)
        noise *= np.float32(1 / noise[::7, ::7].std())
    noise *= noise_deviation(clean, plan)
    signal = np.maximum(clean + noise, 1)
    return Exposure(signal=signal, clean=clean, plan=plan, median_attenuation=median)


def noise_deviation(clean: Field, plan: DetectorPlan) -> Field:
    """Return the deviation of a pixel's noise at a noise-free signal, in quanta."""
    variance = np.maximum(clean, 1) * np.float32(EXCESS_NOISE) + np.float32(plan.electronic**2)
    return np.sqrt(variance) * np.float32(1 / (1 + 0.6 * plan.grain))


def d_prime(speck: DrawnSpeck, exposure: Exposure) -> float:
    """Return the signal to noise ratio of the filter that matches a speck, on a flat background.

    The noise's grain spreads its power over fewer frequencies; its effect on the matched filter is
    taken as that on the mean of neighbouring pixels.
    """
    plan = exposure.plan
    contrast = blur(1 - np.exp(-MU_CALCIUM * np.pad(speck.thickness, 4)), plan.blur) / (1 + plan.scatter)
    rows, columns = exposure.clean.shape
    row = min(max(int(speck.row), 0), rows - 1)
    column = min(max(int(speck.column), 0), columns - 1)
    around = exposure.clean[max(row - 12, 0) : row + 13, max(column - 12, 0) : column + 13]
    level = np.quantile(around, 0.75).astype(np.float32)
    relative = float(noise_deviation(np.full((1, 1), level, np.float32), plan)[0, 0] / level)
    return float(np.sqrt((contrast**2).sum()) / relative / np.sqrt(1 + 2 * plan.grain))
