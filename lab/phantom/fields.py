"""Random fields and grid arithmetic that breasts are made of. All fields are float32 [rows, columns]."""

from typing import Any, TypeAlias

import numpy as np
from numpy.random import PCG64, Generator, SeedSequence
from numpy.typing import NDArray
from scipy import fft, ndimage

Field: TypeAlias = NDArray[np.floating[Any]]
Mask: TypeAlias = NDArray[np.bool_]


def generator(*identity: int | str) -> Generator:
    """Return the random generator that belongs to an identity; the same identity, the same numbers."""
    words = [part if isinstance(part, int) else int.from_bytes(part.encode(), "big") for part in identity]
    return Generator(PCG64(SeedSequence([len(words), *words])))


def power_law(
    shape: tuple[int, int], beta: float, rng: Generator, pitch_mm: float, lowest: float = 0.01
) -> Field:
    """Return a Gaussian field of mean 0 and deviation 1 whose power falls as frequency to the minus `beta`.

    `lowest`: the frequency in 1/mm below which the spectrum is flat.
    """
    rows, columns = (fft.next_fast_len(side, real=True) for side in shape)
    down = fft.fftfreq(rows, pitch_mm)[:, None].astype(np.float32)
    across = fft.rfftfreq(columns, pitch_mm)[None].astype(np.float32)
    squared = np.maximum(down * down + across * across, np.float32(lowest * lowest))
    amplitude = np.exp(np.log(squared) * np.float32(-beta / 4))
    amplitude[0, 0] = 0
    waves = np.empty(amplitude.shape, np.complex64)
    waves.real = rng.standard_normal(amplitude.shape, dtype=np.float32)
    waves.imag = rng.standard_normal(amplitude.shape, dtype=np.float32)
    waves *= amplitude
    field: Field = fft.irfft2(waves, s=(rows, columns), overwrite_x=True)[: shape[0], : shape[1]]
    deviation = float(field.std())
    return ((field - field.mean()) / np.float32(deviation)).astype(np.float32)


def smooth_step(values: Field) -> Field:
    """Return 0 below 0, 1 above 1, and a smooth rise between."""
    clipped = np.clip(values, 0, 1)
    return clipped * clipped * (3 - 2 * clipped)


def blur(field: Field, sigma: float, truncate: float = 3.0) -> Field:
    """Return the field convolved with a Gaussian of `sigma` elements; edges are repeated."""
    if sigma <= 0:
        return field
    blurred: Field = ndimage.gaussian_filter(field, sigma, truncate=truncate, mode="nearest")
    return blurred


def enlarge(field: Field, factor: int) -> Field:
    """Return the field on a grid `factor` (a power of two) times finer, linear between element centres."""
    while factor > 1:
        field = _twice(_twice(field).T).T
        factor //= 2
    return np.ascontiguousarray(field)


def _twice(field: Field) -> Field:
    """Return the field with twice as many rows; new centres lie a quarter of an element from the old ones."""
    fine = np.empty((field.shape[0] * 2, field.shape[1]), np.float32)
    near = field * np.float32(0.75)
    far = field * np.float32(0.25)
    fine[0::2] = near
    fine[1::2] = near
    fine[2::2] += far[:-1]
    fine[0] += far[0]
    fine[1:-1:2] += far[1:]
    fine[-1] += far[-1]
    return fine


def shrink(field: Field, factor: int) -> Field:
    """Return the means of blocks of `factor` x `factor` elements; both sides must be multiples of it."""
    rows, columns = field.shape
    blocks = field.reshape(rows // factor, factor, columns // factor, factor)
    return blocks.mean(axis=(1, 3), dtype=np.float32)


def cell_edges(down: Field, across: Field, cell: float, rng: Generator) -> Field:
    """Return how much farther the second nearest of scattered points is than the nearest, at given positions.

    Zero on the borders between cells of size `cell`: the walls of a foam. One point is scattered in each
    square of a grid, so that the nine squares around a position hold its neighbours.
    """
    down = down / np.float32(cell)
    across = across / np.float32(cell)
    first_row, first_column = int(np.floor(down.min())) - 1, int(np.floor(across.min())) - 1
    height = int(np.floor(down.max())) - first_row + 2
    width = int(np.floor(across.max())) - first_column + 2
    points = rng.uniform(0.02, 0.98, (2, height, width)).astype(np.float32)
    row = np.floor(down).astype(np.int32) - first_row
    column = np.floor(across).astype(np.int32) - first_column
    inner_down = down - np.floor(down)
    inner_across = across - np.floor(across)
    square = row * width + column
    nearest = np.full(down.shape, 9, np.float32)
    second = nearest.copy()
    for step_down in (-1, 0, 1):
        for step_across in (-1, 0, 1):
            index = square + (step_down * width + step_across)
            away = inner_down - (points[0].ravel()[index] + np.float32(step_down))
            aside = inner_across - (points[1].ravel()[index] + np.float32(step_across))
            distance = away * away + aside * aside
            np.minimum(second, np.maximum(distance, nearest), out=second)
            np.minimum(nearest, distance, out=nearest)
    return ((np.sqrt(second) - np.sqrt(nearest)) * np.float32(cell)).astype(np.float32)
