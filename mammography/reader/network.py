"""The network: plain 3 by 3 convolutions from a stride-2 stem down to 1/16 and back, with four small heads.

Calcifications are a few pixels wide, so everything that finds them happens at half resolution (0.14 mm cells);
the coarser levels add the context of the tissue around. Written for a processor without low-precision units:
0.37 million parameters, 18 GFLOP per million pixels.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional
from typing_extensions import override

STRIDE = 16
"""Heights and widths that the network takes are multiples of this."""
CELL = 2
"""Reader pixels per cell of the centre and size maps."""
COARSE_CELL = 4
"""Reader pixels per cell of the large and morphology maps."""
UNIT_DIAMETER = 3.0
"""Reader pixels; the size map holds the base-2 logarithm of a diameter in units of this."""


class Maps(NamedTuple):
    """What the network says, as raw values; each is [images, channels, height, width]."""

    center: Tensor
    """Logit that a calcification's centre lies in this cell; 1 channel, cells of CELL pixels."""
    size: Tensor
    """log2(diameter / UNIT_DIAMETER) of the calcification centred here; 1 channel, cells of CELL."""
    large: Tensor
    """Logits of what covers this cell: channel 0 nothing large, then the plan's large kinds; cells of COARSE_CELL."""
    morphology: Tensor
    """Logits of the plan's morphologies for a calcification centred here; cells of COARSE_CELL."""


class Convolution(nn.Sequential):
    """Convolution, batch normalisation and rectifier."""

    def __init__(self, incoming: int, outgoing: int, size: int = 3, stride: int = 1) -> None:
        super().__init__(
            nn.Conv2d(incoming, outgoing, size, stride, size // 2, bias=False),
            nn.BatchNorm2d(outgoing),
            nn.ReLU(inplace=True),
        )


class Residual(nn.Module):
    """Two convolutions beside an identity."""

    def __init__(self, width: int, dilation: int = 1) -> None:
        super().__init__()
        self.first = Convolution(width, width)
        self.second = nn.Sequential(
            nn.Conv2d(width, width, 3, 1, dilation, dilation=dilation, bias=False), nn.BatchNorm2d(width)
        )

    @override
    def forward(self, features: Tensor) -> Tensor:
        """Return features of the same shape, [batch, channels, rows, columns]."""
        return functional.relu(features + self.second(self.first(features)), inplace=True)


class Network(nn.Module):
    """Two channels of a prepared mammogram in, four maps out."""

    def __init__(self, widths: Sequence[int], morphologies: int, large: int) -> None:
        super().__init__()
        self.large_channels = 1 + large
        half, quarter, eighth, sixteenth = widths
        self.stem = Convolution(2, half, 5, 2)
        self.level_half = Residual(half)
        self.level_quarter = nn.Sequential(
            Convolution(half, quarter, 3, 2), Residual(quarter), Residual(quarter)
        )
        self.level_eighth = nn.Sequential(
            Convolution(quarter, eighth, 3, 2), Residual(eighth), Residual(eighth)
        )
        self.level_sixteenth = nn.Sequential(
            Convolution(eighth, sixteenth, 3, 2), Residual(sixteenth), Residual(sixteenth, dilation=2)
        )
        self.to_eighth = Convolution(sixteenth, eighth, 1)
        self.to_quarter = Convolution(eighth, quarter, 1)
        self.to_half = Convolution(quarter, half, 1)
        self.merged_eighth = Residual(eighth)
        self.merged_quarter = Residual(quarter)
        self.merged_half = Residual(half)
        self.fine_head = nn.Conv2d(half, 2, 3, 1, 1)
        self.coarse_head = nn.Conv2d(quarter, self.large_channels + morphologies, 3, 1, 1)
        with torch.no_grad():  # rare things start rare, so that the first steps are not spent on that
            self.fine_head.bias.copy_(torch.tensor([-4.5, 0.0]))  # type: ignore[union-attr]
            self.coarse_head.bias[0] = 4.0 + math.log(max(large, 1))  # type: ignore[index]

    @override
    def forward(self, image: Tensor) -> Maps:
        """Return the maps of a prepared image, [batch, 2, rows, columns]; sides are multiples of 16."""
        half = self.fine(image)
        quarter = self.context(half)
        return self.maps(self.fine_answers(half, self.to_half(quarter)), self.coarse_head(quarter))

    def fine(self, image: Tensor) -> Tensor:
        """Return the features at half resolution, which know six pixels around them."""
        features: Tensor = self.level_half(self.stem(image))
        return features

    def context(self, half: Tensor) -> Tensor:
        """Return the features at a quarter of the resolution, with what all coarser levels know."""
        quarter = self.level_quarter(half)
        eighth = self.level_eighth(quarter)
        sixteenth = self.level_sixteenth(eighth)
        eighth = self.merged_eighth(_doubled(self.to_eighth(sixteenth)).add_(eighth))
        merged: Tensor = self.merged_quarter(_doubled(self.to_quarter(eighth)).add_(quarter))
        return merged

    def fine_answers(self, half: Tensor, context: Tensor) -> Tensor:
        """Return the centre and size channels, from fine features and the context at half as many rows."""
        answers: Tensor = self.fine_head(self.merged_half(_doubled(context).add_(half)))
        return answers

    def maps(self, fine: Tensor, coarse: Tensor) -> Maps:
        """Return the channels of the two heads by their names."""
        return Maps(
            center=fine[:, :1],
            size=fine[:, 1:],
            large=coarse[:, : self.large_channels],
            morphology=coarse[:, self.large_channels :],
        )


def _doubled(features: Tensor) -> Tensor:
    """Return the map at twice the resolution, each cell repeated."""
    return functional.interpolate(features, scale_factor=2, mode="nearest")
