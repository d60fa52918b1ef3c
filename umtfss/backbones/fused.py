"""Residual blocks of a frozen network, with fewer passes over memory on a CPU in fp32.

oneDNN adds the shortcut and clamps in the pass in which it writes a convolution's result. torch
offers this through the operators that `torch.compile` makes of a frozen network.

Shapes: B batch, C input channels, D output channels, H W grid.
"""

import torch
from torch import Tensor, nn
from torchvision.models.resnet import Bottleneck

from umtfss.backbones.boxes import NO_MARGIN, Margin
from umtfss.backbones.winograd import WinogradConv2d, is_plain_fp32
from umtfss.common.onednn import OneDnnPointwise


class FusedBottleneck(Bottleneck):
    """A block with folded norms. It computes as torchvision's outside a CPU's fp32."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, D, H, W) of a (B, C, H, W) map."""
        if not is_plain_fp32(x):
            found: Tensor = super().forward(x)
            return found
        return self.inside(x, NO_MARGIN)

    def inside(self, x: Tensor, margin: Margin) -> Tensor:
        """(B, D, h, w) inside of a margin of a (B, C, H, W) map, on a CPU in fp32."""
        shortcut = margin.inside(x)
        if self.downsample is not None:
            shortcut = self.downsample(shortcut)
        out = _clamped(self.conv2, _clamped(self.conv1, x), margin=margin)
        return _clamped(self.conv3, out, shortcut)


def fuse_blocks(network: nn.Module) -> None:
    """Let the blocks of a frozen ResNet whose norms are folded take fewer passes over memory.

    Args:
        network: The network; changed in place.
    """
    for module in network.modules():
        if type(module) is Bottleneck and torch.backends.mkldnn.is_available():
            module.__class__ = FusedBottleneck


def _clamped(
    layer: nn.Conv2d, x: Tensor, shortcut: Tensor | None = None, margin: Margin = NO_MARGIN
) -> Tensor:
    """The convolution inside of a margin, plus the shortcut if there is one, clamped at 0."""
    if isinstance(layer, WinogradConv2d):
        return layer.inside(x, margin).relu_()
    padding = layer.padding
    if margin != NO_MARGIN:
        x, padding = margin.filled(x, layer.dilation[0]), (0, 0)
    dilation = (2, 2) if isinstance(layer, OneDnnPointwise) else layer.dilation
    geometry = (padding, layer.stride, dilation, layer.groups)
    convolve = torch.ops.mkldnn._convolution_pointwise
    if shortcut is None:
        return convolve(x, layer.weight, layer.bias, *geometry, "relu", [], "")
    addition: tuple[object, ...] = ("add", 1.0, "relu", [], "")
    return convolve.binary(x, shortcut, layer.weight, layer.bias, *geometry, *addition)
