"""What the network is asked for, as one number."""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from lab.training.batches import Batch
from lab.training.lesson import NO_MORPHOLOGY, UNKNOWN_LARGE
from mammography.reader.network import Maps

SIZE_WEIGHT, LARGE_WEIGHT, MORPHOLOGY_WEIGHT, BAG_WEIGHT = 0.2, 0.5, 0.3, 0.5


class Losses(NamedTuple):
    """The parts of the loss, in the order in which they are shown."""

    center: Tensor
    size: Tensor
    large: Tensor
    morphology: Tensor
    bag: Tensor

    def total(self) -> Tensor:
        """Return what is minimised."""
        return (
            self.center
            + SIZE_WEIGHT * self.size
            + LARGE_WEIGHT * self.large
            + MORPHOLOGY_WEIGHT * self.morphology
            + BAG_WEIGHT * self.bag
        )


def losses_of(maps: Maps, batch: Batch, morphology_weights: Tensor) -> Losses:
    """Return the losses of the network's maps against a batch's targets."""
    known = torch.isfinite(batch.size)
    wrong = (maps.size - torch.nan_to_num(batch.size)).abs() * known
    labels = batch.morphology[:, 0].long()
    asked = labels != NO_MORPHOLOGY
    morphology = maps.center.new_zeros(())
    if asked.any():
        morphology = functional.cross_entropy(
            maps.morphology.permute(0, 2, 3, 1)[asked], labels[asked], weight=morphology_weights
        )
    return Losses(
        center=_focal(maps.center, batch.heat, batch.weight),
        size=wrong.sum() / (known.sum() + 1),
        large=_large(maps.large, batch.large[:, 0].long()),
        morphology=morphology,
        bag=_bag(maps.center, batch.bag[:, 0]),
    )


def _focal(logit: Tensor, heat: Tensor, weight: Tensor) -> Tensor:
    """Return the penalty-reduced focal loss of a centre map (Law and Deng 2018; Zhou et al. 2019)."""
    probability = torch.sigmoid(logit).clamp(1e-5, 1 - 1e-5)
    center = (heat >= 0.999).float()
    found = center * (1 - probability) ** 2 * torch.log(probability)
    quiet = (1 - center) * weight * (1 - heat) ** 4 * probability**2 * torch.log(1 - probability)
    return -(found + quiet).sum() / (center.sum() + 8)


def _large(logits: Tensor, kind: Tensor) -> Tensor:
    """Return cross-entropy over the kinds, plus the Dice loss of anything large, which does not mind how little it is."""
    known = kind != UNKNOWN_LARGE
    if not known.any():
        return logits.new_zeros(())
    anything = (kind >= 0).float()
    probability = (1 - torch.softmax(logits, dim=1)[:, 0]) * known
    overlap = 2 * (probability * anything).sum() + 1
    dice = 1 - overlap / (probability.sum() + anything.sum() + 1)
    return functional.cross_entropy(logits, kind + 1, ignore_index=UNKNOWN_LARGE + 1) + dice


def _bag(logit: Tensor, bag: Tensor) -> Tensor:
    """Return how far the best cell of each region is from a calcification (multiple instance learning).

    A region that reaches over the crop's edge is passed over: its calcifications may lie outside.
    """
    best = functional.max_pool2d(logit, 2)[:, 0]
    losses = [
        functional.softplus(-best[image][bag[image] == number].max())
        for image in range(len(bag))
        for number in _whole_regions(bag[image])
    ]
    return torch.stack(losses).mean() if losses else logit.new_zeros(())


def _whole_regions(bag: Tensor) -> list[float]:
    """Return the numbers of the regions that lie in a crop from end to end."""
    if not bag.any():
        return []
    cut = set(torch.cat([bag[0], bag[-1], bag[:, 0], bag[:, -1]]).tolist())
    return [number for number in torch.unique(bag).tolist() if number and number not in cut]
