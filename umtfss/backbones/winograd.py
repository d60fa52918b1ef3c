"""3x3 convolutions of a frozen network with fewer products, on a CPU in fp32.

Winograd's F(4x4, 3x3) (arXiv:1509.09308): a tile of 6x6 px and the kernel are transformed,
multiplied place by place, and transformed back to 4x4 px. That takes 36 products where the plain
convolution takes 144. The points of the transformations are 0, 1, -1, 1/2, -2 and infinity, which
give a third of the rounding errors of the usual 0, 1, -1, 2, -2. A dilated convolution is a plain
one on each of dilation x dilation interleaved grids.

Shapes: B batch, C input channels, D output channels, H W grid, T tiles.
"""

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from umtfss.backbones.boxes import NO_MARGIN, Margin

POINTS = (0.0, 1.0, -1.0, 0.5, -2.0)
OUT, IN = 4, 6  # sides of a tile after and before the convolution
LEAST_CHANNELS = 256  # with fewer, the transformations cost what the products save
LEAST_TILES = 64  # of an image: smaller products are slow
LEAST_FILLED = 7  # of a tile's 16 px, on average: the other px are computed for nothing


class WinogradConv2d(nn.Conv2d):
    """A 3x3 convolution of stride 1 without gradients, equal to torch's up to rounding.

    It computes as torch's own on other devices, in other precisions and on few tiles. Images are
    computed one by one, so no image depends on its batch.
    """

    def forward(self, input: Tensor) -> Tensor:
        """(B, D, H, W), channels last, of a (B, C, H, W) map."""
        return self.inside(input, NO_MARGIN)

    def inside(self, input: Tensor, margin: Margin) -> Tensor:
        """The convolution inside of a margin, (B, D, h, w), of a (B, C, H, W) map."""
        height, width = margin.inside(input).shape[2:]
        d = self.dilation[0]
        tiles = d * d * -(-height // (OUT * d)) * -(-width // (OUT * d))
        is_filled = tiles >= LEAST_TILES and tiles * LEAST_FILLED <= height * width
        if not is_plain_fp32(input) or not is_filled:
            if margin == NO_MARGIN:
                return super().forward(input)
            return F.conv2d(margin.filled(input, d), self.weight, self.bias, dilation=d)
        convolved = input.new_empty(len(input), height, width, self.out_channels)
        for image, result in zip(input, convolved, strict=True):
            result.copy_(_convolved(image, self._kernels(), self.bias, d, margin))
        return convolved.permute(0, 3, 1, 2)

    def _kernels(self) -> Tensor:
        """The transformed kernels, (36, C, D); computed once, as the weights are frozen."""
        if "_transformed" not in vars(self):
            _, kernel, _ = _transformations()
            weight = self.weight.detach().double()
            found = torch.einsum("ia,jb,dcab->ijcd", kernel, kernel, weight)
            self._transformed = found.flatten(0, 1).float()
        return self._transformed


def is_plain_fp32(x: Tensor) -> bool:
    """Whether a layer computes on a CPU in fp32, outside autocast, without a gradient or a trace.

    A trace, such as that of an export, keeps to operators that others know.
    """
    return (
        x.device.type == "cpu"
        and x.dtype == torch.float32
        and not torch.is_autocast_enabled("cpu")
        and not torch.is_grad_enabled()
        and not torch.compiler.is_compiling()
    )


def use_winograd(network: nn.Module) -> None:
    """Let the large 3x3 convolutions of a frozen network take fewer products.

    Args:
        network: The network with its final weights; changed in place.
    """
    for module in network.modules():
        if type(module) is nn.Conv2d and _fits(module):
            module.__class__ = WinogradConv2d


def _fits(layer: nn.Conv2d) -> bool:
    d = layer.dilation[0]
    shape: Any = (layer.kernel_size, layer.stride, layer.padding, layer.dilation, layer.groups)
    fits = shape == ((3, 3), (1, 1), (d, d), (d, d), 1) and layer.padding_mode == "zeros"
    return fits and min(layer.in_channels, layer.out_channels) >= LEAST_CHANNELS


def _convolved(x: Tensor, kernels: Tensor, bias: Tensor | None, d: int, margin: Margin) -> Tensor:
    """The convolution of an image (C, H, W) with dilation and padding d, (h, w, D)."""
    channels, height, width = x.shape
    first_row, first_column = d - margin.top, d - margin.left
    ends = (first_row + height, first_column + width)
    height, width = height - margin.top - margin.bottom, width - margin.left - margin.right
    after, _, before = _transformations()
    down, across = -(-height // (OUT * d)), -(-width // (OUT * d))

    # 1. Pad to whole tiles, and gather the pixels of a place in all tiles: (36, T * C).
    rows, columns = (OUT * n * d + 2 * d for n in (down, across))
    padded = x.new_zeros(rows, columns, channels)
    padded[first_row : ends[0], first_column : ends[1]] = x.permute(1, 2, 0)
    row, pixel = columns * channels, channels
    sizes = (IN, IN, d, d, down, across, channels)
    strides = (d * row, d * pixel, row, pixel, OUT * d * row, OUT * d * pixel, 1)
    places = padded.as_strided(sizes, strides).reshape(IN * IN, -1)

    # 2. Transform, multiply with the kernels of each place, and transform back: (16, T * D).
    transformed = (_squared(before) @ places).view(IN * IN, -1, channels)
    products = torch.bmm(transformed, kernels)
    if bias is not None:
        products[IN + 1] += bias  # the point 1 in both directions reaches all pixels unchanged
    tiles = _squared(after) @ products.view(IN * IN, -1)

    # 3. Put the tiles in their places.
    grid = tiles.view(OUT, OUT, d, d, down, across, -1).permute(4, 0, 2, 5, 1, 3, 6)
    return grid.reshape(down * OUT * d, across * OUT * d, -1)[:height, :width]


def _squared(matrix: Tensor) -> Tensor:
    """The transformation of both directions at once, in float32."""
    return torch.kron(matrix, matrix).float()


def _transformations() -> tuple[Tensor, Tensor, Tensor]:
    """Toom-Cook's matrices for output (4, 6), kernel (6, 3) and input (6, 6), float64.

    For a signal s of 6 values and a kernel k of 3: output @ ((kernel @ k) * (input @ s)) are the 4
    values of their correlation. The last row and column belong to the point at infinity.
    """
    points = np.array(POINTS)
    output, kernel, before = np.zeros((OUT, IN)), np.zeros((IN, 3)), np.zeros((IN, IN))
    for at, point in enumerate(points):
        others = np.delete(points, at)
        output[:, at] = point ** np.arange(OUT)
        kernel[at] = point ** np.arange(3) / np.prod(point - others)
        before[at, : IN - 1] = np.poly(others)[::-1]
    output[-1, -1] = kernel[-1, -1] = 1
    before[-1] = np.poly(points)[::-1]
    return tuple(map(torch.from_numpy, (output, kernel, before)))  # type: ignore[return-value]
