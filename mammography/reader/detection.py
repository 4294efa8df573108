"""From a prepared image to points: the network's maps, and the peaks of the centre map inside the breast."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from mammography.reader.network import (
    CELL,
    COARSE_CELL,
    UNIT_DIAMETER,
    Maps,
    Network,
)
from mammography.reader.preprocessing import Prepared

ROWS_AT_ONCE = 256
"""Rows of a prepared image that go through the fine levels at once on a processor: what bounds the memory."""
HALO = 16
"""Rows beside those on which the fine features depend: 6 before the context is known, 6 after."""
_LARGEST_DIAMETER_MM = 3.0
_STEPS = [(down, across) for down in range(3) for across in range(3)]
"""The 3 by 3 cells around one, from the one above to its left; number 4 is itself."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Points:
    """The peaks of one image, best first; arrays of one length.

    `rows`, `columns`: centres in reader pixels (outer corner 0.0). `scores`: 0 to 1. `diameters_mm` at the
    detector plane. `macro`: probability that something large lies there. `morphology`: [points,
    morphologies], probabilities.
    """

    rows: NDArray[np.float64]
    columns: NDArray[np.float64]
    scores: NDArray[np.float64]
    diameters_mm: NDArray[np.float64]
    macro: NDArray[np.float64]
    morphology: NDArray[np.float64]

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self.scores)

    def chosen(self, which: NDArray[np.generic]) -> "Points":
        """Return some of the points, by index or by mask."""
        return Points(
            rows=self.rows[which],
            columns=self.columns[which],
            scores=self.scores[which],
            diameters_mm=self.diameters_mm[which],
            macro=self.macro[which],
            morphology=self.morphology[which],
        )


def maps_of(network: Network, image: Tensor, *, rows_at_once: int = ROWS_AT_ONCE) -> Maps:
    """Return the network's maps of a prepared image [1, 2, height, width], float32, on the network's device.

    On a processor the fine levels, whose features take far the most memory, see some rows at a time with all
    that their answers depend on; the context sees the whole image.
    """
    weight = next(network.parameters())
    height = image.shape[-2]
    with torch.inference_mode():

        def seen(rows: slice) -> Tensor:
            part = image[..., rows, :].to(weight.device, weight.dtype)
            return part.contiguous(memory_format=torch.channels_last)

        if weight.is_cuda:
            return Maps(*(map_.float() for map_ in network(seen(slice(0, height)))))
        half = _by_rows(lambda rows: network.fine(seen(rows)), height, rows_at_once)
        quarter = network.context(half)
        context = network.to_half(quarter)

        def answers(rows: slice) -> Tensor:
            fine, coarse = (slice(rows.start // cell, rows.stop // cell) for cell in (CELL, COARSE_CELL))
            return network.fine_answers(half[..., fine, :], context[..., coarse, :])

        maps = network.maps(_by_rows(answers, height, rows_at_once), network.coarse_head(quarter))
        return Maps(*(map_.float() for map_ in maps))


def _by_rows(features: Callable[[slice], Tensor], height: int, rows_at_once: int) -> Tensor:
    """Return features, one row for CELL rows of the image, from those of some rows of the image at a time."""
    whole = torch.empty(0)
    for top in range(0, height, rows_at_once):
        bottom = min(top + rows_at_once, height)
        first, last = max(top - HALO, 0), min(bottom + HALO, height)
        part = features(slice(first, last))
        if top == 0:
            shape = (1, part.shape[1], height // CELL, part.shape[3])
            whole = torch.empty(shape, dtype=part.dtype, memory_format=torch.channels_last)
        within = slice((top - first) // CELL, (bottom - first) // CELL)
        whole[..., top // CELL : bottom // CELL, :] = part[..., within, :]
    return whole


def points_of(maps: Maps, prepared: Prepared, *, lowest_score: float) -> Points:
    """Return the peaks inside the breast whose score is at least `lowest_score`, best first."""
    probability = torch.sigmoid(maps.center[0, 0].float())
    inside = torch.from_numpy(prepared.breast[CELL // 2 :: CELL, CELL // 2 :: CELL])
    rows, columns = torch.nonzero(
        (probability >= lowest_score) & inside.to(probability.device), as_tuple=True
    )
    near = _near(probability, rows, columns)
    peak = near[4] == near.amax(0)
    rows, columns, near = rows[peak], columns[peak], near[:, peak]
    scores, order = torch.sort(near[4], descending=True, stable=True)
    rows, columns = rows[order], columns[order]
    down, across = _centroid(near[:, order], rows, columns)
    coarse = (rows * CELL // COARSE_CELL, columns * CELL // COARSE_CELL)
    size = maps.size[0, 0, rows, columns].double()
    large = torch.softmax(maps.large[0, :, coarse[0], coarse[1]].double(), dim=0)
    morphology = torch.softmax(maps.morphology[0, :, coarse[0], coarse[1]].double(), dim=0)
    return Points(
        rows=_array((down + 0.5) * CELL),
        columns=_array((across + 0.5) * CELL),
        scores=np.round(_array(scores), 4),
        diameters_mm=np.minimum(
            UNIT_DIAMETER * prepared.spacing_mm * 2.0 ** _array(size), _LARGEST_DIAMETER_MM
        ),
        macro=_array(1.0 - large[0]),
        morphology=_array(morphology.T),
    )


def _array(values: Tensor) -> NDArray[np.float64]:
    """Return a tensor of any device as an array."""
    return np.asarray(values.cpu().numpy(), dtype=np.float64)


def _near(probability: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Return the 3 by 3 cells around some cells, [9, cells], float64, in rows; 0 beyond the border."""
    padded = functional.pad(probability[None, None], (1, 1, 1, 1))[0, 0]
    return torch.stack([padded[rows + down, columns + across] for down, across in _STEPS]).double()


def _centroid(near: Tensor, rows: Tensor, columns: Tensor) -> tuple[Tensor, Tensor]:
    """Return the peaks' places to a fraction of a cell: the mean of the 3 by 3 cells, by probability."""
    total = near.sum(0)
    shift_down = sum(near[i] * (step[0] - 1) for i, step in enumerate(_STEPS)) / total
    shift_across = sum(near[i] * (step[1] - 1) for i, step in enumerate(_STEPS)) / total
    return rows + shift_down, columns + shift_across
