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
    """A block with folded norms. It computes as torchvision's outside a CPU's fp32.

    A block without a convolution in its shortcut may write over its input, which in a layer is the
    block before it.
    """

    def forward(self, x: Tensor) -> Tensor:
        """(B, D, H, W) of a (B, C, H, W) map."""
        if not is_plain_fp32(x):
            found: Tensor = super().forward(x)
            return found
        return self.inside(x, NO_MARGIN)

    def inside(self, x: Tensor, margin: Margin) -> Tensor:
        """(B, D, h, w) inside of a margin of a (B, C, H, W) map, on a CPU in fp32."""
        shortcut = margin.inside(x).contiguous(memory_format=torch.channels_last)
        if self.downsample is not None:
            shortcut = self.downsample(shortcut)
        out = _clamped(self.conv2, _clamped(self.conv1, x), margin)
        return _added(self.conv3, out, shortcut)


def fuse_blocks(network: nn.Module) -> None:
    """Let the blocks of a frozen ResNet whose norms are folded take fewer passes over memory.

    Args:
        network: The network; changed in place.
    """
    for module in network.modules():
        if type(module) is Bottleneck and torch.backends.mkldnn.is_available():
            module.__class__ = FusedBottleneck


def _clamped(layer: nn.Conv2d, x: Tensor, margin: Margin = NO_MARGIN) -> Tensor:
    """The convolution inside of a margin, clamped at 0."""
    if isinstance(layer, WinogradConv2d):
        return layer.inside(x, margin).relu_()
    geometry = _geometry(layer)
    if margin != NO_MARGIN:
        x, geometry = margin.filled(x, layer.dilation[0]), ((0, 0), *geometry[1:])
    convolve = torch.ops.mkldnn._convolution_pointwise
    return convolve(x, layer.weight, layer.bias, *geometry, "relu", [], "")


def _added(layer: nn.Conv2d, x: Tensor, shortcut: Tensor) -> Tensor:
    """The convolution plus the shortcut, clamped at 0, in the memory of the shortcut.

    A result in new memory takes 10 to 25 % more time.
    """
    convolve = torch.ops.mkldnn._convolution_pointwise_.binary
    addition: tuple[object, ...] = ("add", 1.0, "relu", [], "")
    return convolve(shortcut, x, layer.weight, layer.bias, *_geometry(layer), *addition)


def _geometry(layer: nn.Conv2d) -> tuple[object, ...]:
    """Padding, stride, dilation and groups; as in `OneDnnPointwise`, a 1x1 kernel is dilated."""
    dilation = (2, 2) if isinstance(layer, OneDnnPointwise) else layer.dilation
    return layer.padding, layer.stride, dilation, layer.groups
