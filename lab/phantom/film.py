"""Digitised film: a screen-film mammogram, its grain and its scratches, and the scanner that made numbers of it.

Density follows the characteristic curve (Hurter and Driffield); the scanner's values fall with density, so that
dense tissue is bright, and it sees dark film badly: noise falls with brightness, unlike in a digital system.
"""

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

from lab.phantom.anatomy import Anatomy
from lab.phantom.detector import DetectorPlan, Exposure
from lab.phantom.fields import Field, blur
from lab.phantom.overlay import Found, draw_dust
from lab.phantom.presentation import WHITE, Presentation

FOG = 0.18
"""The density of film that no light has reached."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FilmPlan:
    """One film and its scanner. `middle`: density in the middle of the breast. `slope`: density per decade.

    `grain`: deviation of density on pixels of 0.05 mm; `clump`: size of its clumps in mm. `darkest`: the density
    at which the scanner gives 0. `scanner_noise`: deviation in values at that density. `dirt`: how much dust and
    how many scratches, 1 is usual. `screen_mm`: deviation of the screen's blur.
    """

    middle: float
    slope: float
    densest: float
    grain: float
    clump: float
    darkest: float
    scanner_noise: float
    scanner_blur: float
    dirt: float
    screen_mm: float


def draw_film(rng: Generator) -> FilmPlan:
    """Return a film and scanner as training meets them."""
    return FilmPlan(
        middle=float(rng.uniform(1.1, 1.9)),
        slope=float(rng.uniform(2.6, 3.4)),
        densest=float(rng.uniform(3.4, 4.0)),
        grain=float(rng.uniform(0.006, 0.012)),
        clump=float(rng.uniform(0.02, 0.04)),
        darkest=float(rng.uniform(3.2, 3.7)),
        scanner_noise=float(rng.uniform(8, 20)),
        scanner_blur=float(rng.uniform(0.3, 0.6)),
        dirt=float(rng.uniform(0.2, 1.5)),
        screen_mm=float(rng.uniform(0.035, 0.05)),
    )


def draw_shifted_film(rng: Generator) -> FilmPlan:
    """Return a film and scanner that training never meets: steeper or flatter, coarser grain, more dirt."""
    steep = rng.random() < 0.5
    return FilmPlan(
        middle=float(rng.uniform(2.0, 2.3) if steep else rng.uniform(0.8, 1.05)),
        slope=float(rng.uniform(3.5, 4.0) if steep else rng.uniform(2.1, 2.5)),
        densest=float(rng.uniform(3.4, 4.0)),
        grain=float(rng.uniform(0.018, 0.024)),
        clump=float(rng.uniform(0.045, 0.06)),
        darkest=float(rng.uniform(3.8, 4.2)),
        scanner_noise=float(rng.uniform(22, 30)),
        scanner_blur=float(rng.uniform(0.65, 0.8)),
        dirt=float(rng.uniform(1.6, 2.5)),
        screen_mm=float(rng.uniform(0.055, 0.065)),
    )


def screen(film: FilmPlan, spacing_mm: float, rng: Generator) -> DetectorPlan:
    """Return how a film's screen is exposed, in the detector's words; the silver's grain comes later."""
    return DetectorPlan(
        quanta=float(np.exp(rng.normal(np.log(4500), 0.25)) * (spacing_mm / 0.07) ** 2),
        scatter=float(rng.uniform(0.2, 0.4)),
        blur=film.screen_mm / spacing_mm,
        grain=film.screen_mm / spacing_mm,
        electronic=0.0,
    )


def develop(exposure: Exposure, anatomy: Anatomy, film: FilmPlan, rng: Generator) -> Presentation:
    """Return the scanner's picture of the developed film."""
    spacing_mm = anatomy.window.spacing_mm
    level = np.float32(_middle_signal(exposure, anatomy))
    density = _density(np.log10(np.maximum(exposure.signal, 1) / level), film)
    density = _grainy(density, film, spacing_mm, rng)
    density = blur(density, film.scanner_blur)
    values = (film.darkest - density) * np.float32(WHITE / (film.darkest - FOG + 0.05))
    dark = 1 - values * np.float32(1 / WHITE)
    noise = rng.standard_normal(values.shape, dtype=np.float32)
    values += noise * np.float32(film.scanner_noise) * np.maximum(dark, 0.3) ** 2
    inner = values[::8, ::8][anatomy.depth[::2, ::2] > 5]
    low, high = np.quantile(inner if inner.size > 10 else values, [0.03, 0.98])
    return Presentation(
        values=np.clip(values, 0, WHITE),
        window_center=float(round((low + high) / 2)),
        window_width=float(round(max(high - low, 200) * 1.15)),
    )


def _middle_signal(exposure: Exposure, anatomy: Anatomy) -> float:
    """Return the signal behind the middle of the breast, which the exposure control gave its density."""
    sample = exposure.signal[::16, ::16][anatomy.inside[::4, ::4] & (anatomy.depth[::4, ::4] > 10)]
    return float(np.median(sample if sample.size else exposure.signal[::16, ::16]))


def _density(decades: Field, film: FilmPlan) -> Field:
    """Return density for log exposure above that of the middle: the characteristic curve as a logistic one."""
    share = (film.middle - FOG) / (film.densest - FOG)
    steep = np.float32(film.slope / (film.densest - FOG) / (share * (1 - share)))
    curve = 1 / (1 + np.float32(1 / share - 1) * np.exp(-steep * decades))
    return (np.float32(FOG) + np.float32(film.densest - FOG) * curve).astype(np.float32)


def share_kept(exposure: Exposure, anatomy: Anatomy, film: FilmPlan, row: float, column: float) -> float:
    """Return how much of a speck's signal to noise ratio film and scanner leave, 0 to 1, at a point in pixels."""
    rows, columns = exposure.clean.shape
    down, across = min(max(int(row), 0), rows - 1), min(max(int(column), 0), columns - 1)
    around = exposure.clean[max(down - 12, 0) : down + 13, max(across - 12, 0) : across + 13]
    clean = float(np.quantile(around, 0.75))
    decades = np.log10(np.maximum(clean, 1) / _middle_signal(exposure, anatomy)) + np.array([0.0, 0.01])
    density, further = (float(each) for each in _density(decades.astype(np.float32), film))
    quanta = (further - density) / 0.01 * np.log10(np.e) / np.sqrt(max(clean, 1.0))
    spacing_mm = anatomy.window.spacing_mm
    grain = film.grain * min(0.05 / spacing_mm, 1.0) * np.sqrt(max(density, 0.1))
    dark = max(density / film.darkest, 0.3)
    scanner = film.scanner_noise * dark**2 * (film.darkest - FOG) / WHITE
    seen = density < film.darkest
    return float(seen * quanta / np.sqrt(quanta**2 + grain**2 + scanner**2 + 1e-12))


def _grainy(density: Field, film: FilmPlan, spacing_mm: float, rng: Generator) -> Field:
    """Return density with silver grains: clumped, and stronger where the film is darker (Selwyn)."""
    grain = blur(rng.standard_normal(density.shape, dtype=np.float32), film.clump / spacing_mm)
    grain *= np.float32(1 / grain[::7, ::7].std())
    aperture = np.float32(film.grain * min(0.05 / spacing_mm, 1.0))
    return density + grain * aperture * np.sqrt(np.maximum(density, 0.1))


def draw_film_marks(values: Field, anatomy: Anatomy, film: FilmPlan, rng: Generator) -> Found:
    """Draw what lies on a film: dust, hairs, scratches, a pencil's spots, and the label beside the breast."""
    found: Found = []
    for _ in range(1 + int(rng.poisson(film.dirt))):
        found += draw_dust(values, WHITE / 4, rng, often=min(0.6 * film.dirt, 1.0))
    for _ in range(int(rng.poisson(1.2 * film.dirt))):
        found += _scratch(values, anatomy.window.spacing_mm, rng)
    return found + _label(values, anatomy, rng)


def _scratch(values: Field, spacing_mm: float, rng: Generator) -> Found:
    """Draw a scratch of the emulsion: a hairline, bright where silver is gone, now and then dark.

    One that runs off the film at once leaves nothing.
    """
    length = int(rng.uniform(3, 60) / spacing_mm)
    angle = rng.uniform(0, np.pi) if rng.random() < 0.5 else rng.normal() * 0.03
    along = np.arange(length)
    bow = rng.normal() * 0.2 * (along / length) ** 2 * length * 0.1
    row, column = (rng.uniform(0, side) for side in values.shape)
    rows = np.rint(row + along * np.sin(angle) + bow * np.cos(angle)).astype(int)
    columns = np.rint(column + along * np.cos(angle) - bow * np.sin(angle)).astype(int)
    kept = (rows >= 0) & (columns >= 0) & (rows < values.shape[0]) & (columns < values.shape[1])
    rows, columns = rows[kept], columns[kept]
    gaps = np.repeat(rng.random(len(rows) // 15 + 1) < 0.75, 15)[: len(rows)]
    brightness = rng.uniform(60, 500) * (1 if rng.random() < 0.8 else -0.6)
    values[rows[gaps], columns[gaps]] += np.float32(brightness)
    middle = slice(len(rows) // 2, len(rows) // 2 + 1)
    places = zip(rows[middle], columns[middle], strict=True)
    return [("scratch", float(row) + 0.5, float(column) + 0.5) for row, column in places]


def _label(values: Field, anatomy: Anatomy, rng: Generator) -> Found:
    """Draw the flashed label of name and date: a clear box with dark and bright lines, in a corner of air."""
    window = anatomy.window
    height, width = (int(side / window.spacing_mm) for side in (rng.uniform(12, 20), rng.uniform(25, 50)))
    if rng.random() < 0.5:
        height, width = width, height
    gap = int(rng.uniform(0, 8) / window.spacing_mm)
    top = gap if rng.random() < 0.5 else values.shape[0] - height - gap
    left = values.shape[1] - width - gap
    if top < 0 or left < 0 or rng.random() < 0.3:
        return []
    if anatomy.inside[top // 4 : (top + height) // 4 + 1, max(left // 4 - 4, 0) :].any():
        return []
    box = np.full((height, width), rng.uniform(0.75, 0.97) * WHITE, np.float32)
    pitch = int(3 / window.spacing_mm)
    for line in range(pitch, height - pitch, pitch):
        row = rng.random(width // 6 + 1) < 0.45
        marks = np.repeat(row, 6)[:width]
        box[line : line + pitch // 2] -= marks * np.float32(0.6 * WHITE)
    values[top : top + height, left : left + width] = box
    return [("label", top + height / 2, left + width / 2)]
