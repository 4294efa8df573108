"""What the network is asked for, as one number."""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from lab.training.batches import Batch
from lab.training.lesson import NO_MORPHOLOGY
from mammography.reader.network import Maps

SIZE_WEIGHT, MACRO_WEIGHT, MORPHOLOGY_WEIGHT = 0.2, 0.5, 0.3


class Losses(NamedTuple):
    """The parts of the loss, in the order in which they are shown."""

    center: Tensor
    size: Tensor
    macro: Tensor
    morphology: Tensor

    def total(self) -> Tensor:
        """Return what is minimised."""
        return (
            self.center
            + SIZE_WEIGHT * self.size
            + MACRO_WEIGHT * self.macro
            + MORPHOLOGY_WEIGHT * self.morphology
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
        macro=_macro(maps.large[:, 1:].logsumexp(1, keepdim=True) - maps.large[:, :1], batch.macro),
        morphology=morphology,
    )


def _focal(logit: Tensor, heat: Tensor, weight: Tensor) -> Tensor:
    """Return the penalty-reduced focal loss of a centre map (Law and Deng 2018; Zhou et al. 2019)."""
    probability = torch.sigmoid(logit).clamp(1e-5, 1 - 1e-5)
    center = (heat >= 0.999).float()
    found = center * (1 - probability) ** 2 * torch.log(probability)
    quiet = (1 - center) * weight * (1 - heat) ** 4 * probability**2 * torch.log(1 - probability)
    return -(found + quiet).sum() / (center.sum() + 8)


def _macro(logit: Tensor, macro: Tensor) -> Tensor:
    """Return cross-entropy plus the Dice loss, which does not mind how little of an image is covered."""
    probability = torch.sigmoid(logit)
    overlap = 2 * (probability * macro).sum() + 1
    dice = 1 - overlap / (probability.sum() + macro.sum() + 1)
    return functional.binary_cross_entropy_with_logits(logit, macro) + dice
