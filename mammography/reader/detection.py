"""From a prepared image to points: the network's maps, and the peaks of the centre map inside the breast."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from mammography.reader.network import (
    CELL,
    COARSE_CELL,
    STRIDE,
    UNIT_DIAMETER,
    Maps,
    Network,
)
from mammography.reader.preprocessing import Prepared

MOST_PIXELS = 5_000_000
"""Pixels of a prepared image that go through the network at once on a processor: what bounds the memory."""
HALO = 192
"""Rows beside a strip that its answers depend on (half the receptive field), a multiple of STRIDE."""
_LARGEST_DIAMETER_MM = 3.0


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


def maps_of(network: Network, image: Tensor, *, most_pixels: int = MOST_PIXELS) -> Maps:
    """Return the network's maps of a prepared image [1, 2, height, width], float32, on the network's device.

    On a processor an image of more than `most_pixels` goes through in strips of one height, whose halos hold all
    that an answer depends on.
    """
    weight = next(network.parameters())
    height, width = image.shape[-2:]
    strips = 1 if weight.is_cuda else -(-height * width // most_pixels)
    with torch.inference_mode():
        if strips == 1:
            return Maps(*(map_.float() for map_ in network(_as_seen(image, weight))))
        rows = -(-height // strips // STRIDE) * STRIDE
        parts = []
        for top in range(0, height, rows):
            bottom = min(top + rows, height)
            first, last = max(top - HALO, 0), min(bottom + HALO, height)
            strip = network(_as_seen(image[..., first:last, :], weight))
            parts.append(_rows(strip, top - first, bottom - first))
        return Maps(*(torch.cat(maps, dim=-2).float() for maps in zip(*parts, strict=True)))


def points_of(maps: Maps, prepared: Prepared, *, lowest_score: float) -> Points:
    """Return the peaks inside the breast whose score is at least `lowest_score`, best first."""
    probability = torch.sigmoid(maps.center.float())
    peak = (probability == functional.max_pool2d(probability, 3, 1, 1)) & (probability >= lowest_score)
    inside = torch.from_numpy(prepared.breast[CELL // 2 :: CELL, CELL // 2 :: CELL])
    rows, columns = torch.nonzero(peak[0, 0] & inside.to(peak.device), as_tuple=True)
    scores = probability[0, 0, rows, columns].double()
    order = torch.argsort(scores, descending=True, stable=True)
    rows, columns, scores = rows[order], columns[order], scores[order]
    down, across = _centroid(probability[0, 0], rows, columns)
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


def _centroid(probability: Tensor, rows: Tensor, columns: Tensor) -> tuple[Tensor, Tensor]:
    """Return the peaks' places to a fraction of a cell: the mean of the 3 by 3 cells, by probability."""
    padded = functional.pad(probability[None, None], (1, 1, 1, 1))[0, 0].double()
    steps = [(down, across) for down in (-1, 0, 1) for across in (-1, 0, 1)]
    near = torch.stack([padded[rows + 1 + down, columns + 1 + across] for down, across in steps])
    total = near.sum(0)
    shift_down = sum(near[i] * step[0] for i, step in enumerate(steps)) / total
    shift_across = sum(near[i] * step[1] for i, step in enumerate(steps)) / total
    return rows + shift_down, columns + shift_across


def _as_seen(image: Tensor, weight: Tensor) -> Tensor:
    """Return the image where the weights are, in their precision, in the layout that convolutions like best."""
    return image.to(weight.device, weight.dtype).contiguous(memory_format=torch.channels_last)


def _rows(maps: Maps, top: int, bottom: int) -> Maps:
    """Return some rows, given in reader pixels, of every map."""
    assert top % STRIDE == 0, "strips begin on the coarsest cells"  # noqa: S101
    cells = Maps(center=CELL, size=CELL, large=COARSE_CELL, morphology=COARSE_CELL)  # type: ignore[arg-type]
    return Maps(*(map_[..., top // cell : bottom // cell, :] for map_, cell in zip(maps, cells, strict=True)))
