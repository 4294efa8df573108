"""A weights folder, opened: the network ready to look, the models and the plan, each as its checksum says."""

import hashlib
from pathlib import Path
from typing import NamedTuple

import safetensors.torch
import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from mammography.reader.classification import Classification
from mammography.reader.network import Network
from mammography.reader.plan import (
    CLASSIFICATION_FILE,
    NETWORK_FILE,
    PLAN_FILE,
    SECOND_STAGE_FILE,
    ReaderPlan,
    UnusableWeights,
    read_plan,
)
from mammography.reader.second_stage import SecondStage

SHIPPED_WEIGHTS = Path(__file__).parent / "weights"
"""The weights that come with the package."""
UNUSED_WEIGHT = "num_batches_tracked"
"""A counter beside every normalisation that only training could use; weights files lack it."""


class OpenedWeights(NamedTuple):
    """What a reader is made of."""

    plan: ReaderPlan
    network: Network
    classification: Classification
    second_stage: SecondStage | None = None
    """Only where it made the models better on validation scenes."""


def open_weights(folder: Path) -> OpenedWeights:
    """Return what a weights folder holds.

    Raises:
        UnusableWeights: if a file is missing, is not the one that the plan was made for, or does not fit it.
    """
    plan = read_plan(folder)
    network_bytes = _checked(folder, NETWORK_FILE, plan)
    classification_bytes = _checked(folder, CLASSIFICATION_FILE, plan)
    try:
        network = network_of(network_bytes, plan)
        classification = Classification.model_validate_json(classification_bytes)
        second_stage = (
            second_stage_of(_checked(folder, SECOND_STAGE_FILE, plan), plan)
            if SECOND_STAGE_FILE in plan.files
            else None
        )
    except (SafetensorError, RuntimeError, ValidationError) as cause:
        raise UnusableWeights(f"The weights in {folder} do not fit their {PLAN_FILE}: {cause}.") from cause
    return OpenedWeights(plan, folded(network), classification, second_stage)


def network_for(plan: ReaderPlan) -> Network:
    """Return a network with the plan's widths and heads, its weights drawn at random."""
    return Network(plan.widths, len(plan.morphologies), len(plan.large))


def network_of(content: bytes, plan: ReaderPlan) -> Network:
    """Return the network with the weights of a safetensors file, whatever precision they are kept in.

    Raises:
        RuntimeError, SafetensorError: if the file is none, or holds other weights than the plan's network has.
    """
    network = network_for(plan)
    state = {name: value.float() for name, value in safetensors.torch.load(content).items()}
    counters = {name: value for name, value in network.state_dict().items() if name.endswith(UNUSED_WEIGHT)}
    network.load_state_dict(counters | state)
    return network


def trainable_network(folder: Path) -> Network:
    """Return the network of a weights folder as training left it, to be taught further.

    Raises:
        UnusableWeights: if a file is missing, is not the one that the plan was made for, or does not fit it.
    """
    plan = read_plan(folder)
    try:
        return network_of(_checked(folder, NETWORK_FILE, plan), plan)
    except (SafetensorError, RuntimeError) as cause:
        raise UnusableWeights(f"The weights in {folder} do not fit their {PLAN_FILE}: {cause}.") from cause


def second_stage_of(content: bytes, plan: ReaderPlan) -> SecondStage:
    """Return the second stage with the weights of a safetensors file, for looking.

    Raises:
        RuntimeError, SafetensorError: if the file is none, or holds other weights.
    """
    second_stage = SecondStage(len(plan.morphologies))
    second_stage.load_state_dict(
        {name: value.float() for name, value in safetensors.torch.load(content).items()}
    )
    return second_stage.eval().requires_grad_(requires_grad=False)


def folded(network: Network) -> Network:
    """Return the network for looking: normalisations folded into the convolutions before them, channels last."""
    network.eval()
    for module in list(network.modules()):
        if not isinstance(module, nn.Sequential):
            continue
        for position in range(len(module) - 1):
            convolution, normalisation = module[position], module[position + 1]
            if isinstance(convolution, nn.Conv2d) and isinstance(normalisation, nn.BatchNorm2d):
                module[position] = fuse_conv_bn_eval(convolution, normalisation)
                module[position + 1] = nn.Identity()
    network.requires_grad_(requires_grad=False)
    return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]


def _checked(folder: Path, name: str, plan: ReaderPlan) -> bytes:
    """Return a file's bytes once its checksum is the plan's."""
    try:
        content = (folder / name).read_bytes()
    except OSError as cause:
        raise UnusableWeights(f"The weights file {folder / name} is missing; install it again.") from cause
    found, expected = hashlib.sha256(content).hexdigest(), plan.files.get(name)
    if found != expected:
        raise UnusableWeights(
            f"The weights file {folder / name} is not the one that {PLAN_FILE} was made for "
            f"(SHA-256 {found[:16]}..., expected {str(expected)[:16]}...); install it again."
        )
    return content
