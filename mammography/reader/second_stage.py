"""The second look at a cluster: a small network on its specks and on the tissue around them.

The first network sees every pixel and knows no clusters. This one sees a cluster's best specks one by one at full
resolution, pools them whatever their number and order, and adds a coarse view of 25.6 mm with the points drawn
in. It says whether these are calcifications, and of which morphology.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from typing_extensions import override

from mammography.finding import SUSPICIOUS_MORPHOLOGIES, Morphology
from mammography.reader.detection import Points
from mammography.reader.preprocessing import Prepared

MOST_SPECKS = 16
"""As many specks of a cluster are looked at, the best ones."""
SPECK_SIDE = 24
"""Side of the window around a speck, in reader pixels: 1.7 mm at 0.07 mm."""
CONTEXT_MM, CONTEXT_SIDE = 25.6, 96
"""Side of the view around the cluster, in mm and in its own cells."""
_SPECK_FEATURES, _CONTEXT_FEATURES, _HIDDEN = 64, 48, 96
FURTHEST_LOGIT = 6.0
SECOND_CALCIFICATION, SECOND_SUSPICIOUS = "second calcification", "second suspicious"
"""Measures: the logit of being calcifications at all, and that of a suspicious morphology."""


class ClusterView(NamedTuple):
    """What the second stage sees of one cluster, or of several with one more dimension in front.

    `specks`: [MOST_SPECKS, 2, SPECK_SIDE, SPECK_SIDE], the two channels of a prepared image around each speck;
    `facts`: [MOST_SPECKS, 3] of its score's logit, its log2 diameter in mm, and 1 where there is a speck at all.
    `context`: [3, CONTEXT_SIDE, CONTEXT_SIDE]: mean value, highest high-pass, and the points.
    """

    specks: Tensor
    facts: Tensor
    context: Tensor


class Opinion(NamedTuple):
    """What the second stage says of clusters: logits."""

    calcification: Tensor
    """[clusters]: calcifications, or fibres and noise?"""
    morphology: Tensor
    """[clusters, morphologies]."""


class SecondStage(nn.Module):
    """Clusters in, opinions out."""

    def __init__(self, morphologies: int) -> None:
        super().__init__()
        self.specks = nn.Sequential(*_layers(2, (12, 24, 40, _SPECK_FEATURES), first_stride=1))
        self.each = nn.Linear(_SPECK_FEATURES + 2, _SPECK_FEATURES)
        self.attention = nn.Linear(_SPECK_FEATURES, 1)
        self.context = nn.Sequential(*_layers(3, (12, 20, 32, _CONTEXT_FEATURES), first_stride=2))
        self.hidden = nn.Linear(4 * _SPECK_FEATURES + 2 * _CONTEXT_FEATURES, _HIDDEN)
        self.dropout = nn.Dropout(0.3)
        self.heads = nn.Linear(_HIDDEN, 1 + morphologies)

    @override
    def forward(self, view: ClusterView) -> Opinion:
        """Return the opinion on clusters, [clusters, ...] each."""
        clusters, specks = view.specks.shape[:2]
        seen = self.specks(view.specks.flatten(0, 1)).amax((2, 3)).view(clusters, specks, -1)
        each = functional.relu(self.each(torch.cat([seen, view.facts[..., :2]], 2)))
        there = view.facts[..., 2:] > 0
        heed = torch.softmax(self.attention(each).masked_fill(~there, -1e4), 1)
        count = there.sum(1).clamp(min=1)
        mean = (each * there).sum(1) / count
        spread = (((each - mean[:, None]) ** 2 * there).sum(1) / count + 1e-4).sqrt()
        highest = each.masked_fill(~there, 0.0).amax(1)
        around = self.context(view.context)
        pooled = [mean, spread, highest, (each * heed).sum(1), around.mean((2, 3)), around.amax((2, 3))]
        said = self.heads(self.dropout(functional.relu(self.hidden(torch.cat(pooled, 1)))))
        return Opinion(said[:, 0], said[:, 1:])


def _layers(channels: int, widths: Sequence[int], *, first_stride: int) -> list[nn.Module]:
    """Return convolutions that halve the view one after the other, the first as it is told."""
    layers: list[nn.Module] = []
    for place, width in enumerate(widths):
        stride = 2 if place else first_stride
        layers += [nn.Conv2d(channels, width, 3, stride, 1), nn.GroupNorm(4, width), nn.ReLU(inplace=True)]
        channels = width
    return layers


def cluster_view(members: Points, prepared: Prepared) -> ClusterView:
    """Return what the second stage sees of a cluster, whose points come best first."""
    image = prepared.image[0]
    best = members.chosen(np.arange(min(len(members), MOST_SPECKS)))
    specks = torch.zeros(MOST_SPECKS, 2, SPECK_SIDE, SPECK_SIDE)
    facts = torch.zeros(MOST_SPECKS, 3)
    for place in range(len(best)):
        specks[place] = _window(image, best.rows[place], best.columns[place], SPECK_SIDE)
        score = min(max(float(best.scores[place]), 1e-3), 1 - 1e-3)
        diameter = max(float(best.diameters_mm[place]), 0.05)
        facts[place] = torch.tensor([math.log(score / (1 - score)), math.log2(diameter), 1.0])
    side = 2 * round(CONTEXT_MM / prepared.spacing_mm / 2)
    row, column = members.rows.mean(), members.columns.mean()
    around = _window(image, row, column, side).cpu()
    points = torch.zeros(1, CONTEXT_SIDE, CONTEXT_SIDE)
    down = ((members.rows - math.floor(row)) / side + 0.5) * CONTEXT_SIDE
    across = ((members.columns - math.floor(column)) / side + 0.5) * CONTEXT_SIDE
    inside = (down >= 0) & (down < CONTEXT_SIDE) & (across >= 0) & (across < CONTEXT_SIDE)
    points[0, down[inside].astype(int), across[inside].astype(int)] = 1.0
    value = functional.adaptive_avg_pool2d(around[:1], CONTEXT_SIDE)
    high_pass = functional.adaptive_max_pool2d(around[1:], CONTEXT_SIDE)
    return ClusterView(specks, facts, torch.cat([value, high_pass, points]))


def stacked(views: Sequence[ClusterView]) -> ClusterView:
    """Return several views as one, with one more dimension in front."""
    return ClusterView(*(torch.stack(parts) for parts in zip(*views, strict=True)))


def second_measures(
    second_stage: SecondStage, views: Sequence[ClusterView], morphologies: Sequence[Morphology]
) -> list[dict[str, float]]:
    """Return what the second stage says of each cluster, by the names that the models weigh it under."""
    with torch.inference_mode():
        opinion = second_stage(stacked(views))
    calcification = opinion.calcification.clamp(-FURTHEST_LOGIT, FURTHEST_LOGIT).tolist()
    shares = torch.softmax(opinion.morphology.double(), 1).tolist()
    measures = []
    for logit, row in zip(calcification, shares, strict=True):
        named = dict(zip(morphologies, row, strict=True))
        suspicious = sum(share for name, share in named.items() if name in SUSPICIOUS_MORPHOLOGIES)
        said = {
            SECOND_CALCIFICATION: logit,
            SECOND_SUSPICIOUS: math.log(suspicious + 1e-3) - math.log(1.001 - suspicious),
        } | {second_share(name): math.log(share + 0.01) for name, share in named.items()}
        measures.append({name: round(value, 3) for name, value in said.items()})
    return measures


def second_share(morphology: Morphology) -> str:
    """Return the name of the measure that is the second stage's share of a morphology, as a logarithm."""
    return f"second {morphology} share"


def _window(image: Tensor, row: float, column: float, side: int) -> Tensor:
    """Return a square of an image [channels, height, width] around a point; 0 beyond the image."""
    top, left = math.floor(row) - side // 2, math.floor(column) - side // 2
    height, width = image.shape[-2:]
    part = image[:, max(top, 0) : max(top + side, 0), max(left, 0) : max(left + side, 0)]
    before_row, before_column = max(-top, 0), max(-left, 0)
    after_row, after_column = max(top + side - height, 0), max(left + side - width, 0)
    return functional.pad(part, (before_column, after_column, before_row, after_row))
