"""The network as it looks at images: on a device, in a precision, a convolution and what follows it in one pass.

At half resolution a feature map is as large as the image. Adding and rectifying in the convolution saves reading
and writing every map twice more, and the memory of one.
"""

import torch
from torch import Tensor, nn
from typing_extensions import override

from mammography.reader.hardware import Hardware
from mammography.reader.network import Convolution, Network, Residual


def placed(network: Network, hardware: Hardware) -> Network:
    """Return a folded network, which is changed in place, ready to look on some hardware.

    The heads stay in float32 on top of features of any precision: rounded to bfloat16, neighbouring cells would
    often be equal, and one calcification two peaks.
    """
    network = network.to(hardware.device, hardware.precision)
    if hardware.precision is not torch.float32:
        network.fine_head = _WideHead(network.fine_head)  # type: ignore[assignment]
        network.coarse_head = _WideHead(network.coarse_head)  # type: ignore[assignment]
    if hardware.device.type == "cpu" and torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        _fuse(network)
    return network


class _WideHead(nn.Module):
    """A head whose answers are float32 whatever the precision of the features."""

    def __init__(self, head: nn.Conv2d) -> None:
        super().__init__()
        self.head = head.float()

    @override
    def forward(self, features: Tensor) -> Tensor:
        """Return a head's answers, float32."""
        answers: Tensor = self.head(features.float())
        return answers


class _FusedConvolution(nn.Module):
    """A convolution and the rectifier behind it, by oneDNN's post-operation."""

    def __init__(self, convolution: nn.Conv2d) -> None:
        super().__init__()
        self.convolution = convolution

    @override
    def forward(self, features: Tensor) -> Tensor:
        """Return rectified features, [batch, channels, rows, columns]."""
        by = self.convolution
        rectified: Tensor = torch.ops.mkldnn._convolution_pointwise(  # noqa: SLF001
            features, by.weight, by.bias, by.padding, by.stride, by.dilation, by.groups, "relu", [], ""
        )
        return rectified


class _FusedResidual(nn.Module):
    """Two convolutions beside an identity; the answer takes the place of what came in, which nobody else needs."""

    def __init__(self, residual: Residual) -> None:
        super().__init__()
        self.first = _FusedConvolution(_only_convolution(residual.first))
        self.second = _only_convolution(residual.second)

    @override
    def forward(self, features: Tensor) -> Tensor:
        """Return features of the same shape, [batch, channels, rows, columns]."""
        by, inner = self.second, self.first(features)
        where = (by.padding, by.stride, by.dilation, by.groups)
        torch.ops.mkldnn._convolution_pointwise_.binary(
            features, inner, by.weight, by.bias, *where, "add", 1.0, "relu", [], ""
        )
        return features


def _fuse(module: nn.Module) -> None:
    """Replace the convolutions and residual blocks below a module, in place, by fused ones."""
    for name, child in module.named_children():
        if isinstance(child, Residual):
            setattr(module, name, _FusedResidual(child))
        elif isinstance(child, Convolution):
            setattr(module, name, _FusedConvolution(_only_convolution(child)))
        else:
            _fuse(child)


def _only_convolution(sequence: nn.Sequential) -> nn.Conv2d:
    """Return the convolution of a folded sequence, into which its normalisation has gone."""
    convolution = sequence[0]
    assert isinstance(convolution, nn.Conv2d)  # noqa: S101
    assert convolution.bias is not None, "a network is folded before it is fused"  # noqa: S101
    return convolution
