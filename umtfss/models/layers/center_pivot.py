"""Centre-pivot 4D convolution and the blocks of HSNet (arXiv:2104.01538).

Shapes: B batch, h w query grid, n m support grid, n' m' strided support grid, C D channels.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor, nn

from umtfss.models.layers.correlation import MaskedGroupNorm, pair_mask


class CenterPivotConvolution(nn.Module):
    """The sum of two 2D convolutions of a correlation, over the query's and the support's plane.

    It equals a 4D convolution whose kernel is zero unless the offset in one of the planes is zero.
    The stride applies to the support's plane alone. Both convolutions read the correlation in
    place; only the kept support positions are copied. Over the support's plane every query position
    is an image of a batch. Over the query's plane the support positions of a row lie side by side,
    so the kernel is dilated by their number.

    Args:
        channels_in: C.
        channels_out: D.
        kernel: Side of both kernels, odd.
        stride: Stride over the support's plane.
    """

    def __init__(self, channels_in: int, channels_out: int, kernel: int, stride: int) -> None:
        super().__init__()
        self.stride, self.padding = stride, kernel // 2
        self.query_plane = nn.Conv2d(channels_in, channels_out, kernel)
        self.support_plane = nn.Conv2d(channels_in, channels_out, kernel)

    def forward(self, grid: Tensor) -> Tensor:
        """The convolved correlation, (B, h, w, n', m', D) of (B, h, w, n, m, C)."""
        batch, height, width = grid.shape[:3]
        images = grid.flatten(0, 2).permute(0, 3, 1, 2)
        layer = self.support_plane
        support = F.conv2d(images, layer.weight, layer.bias, self.stride, self.padding)

        kept = grid[:, :, :, :: self.stride, :: self.stride].flatten(3, 4)
        places = kept.shape[3]
        layer, padding = self.query_plane, (self.padding, self.padding * places)
        images = kept.flatten(2, 3).permute(0, 3, 1, 2)
        query = F.conv2d(images, layer.weight, layer.bias, 1, padding, (1, places))
        query = query.permute(0, 2, 3, 1).reshape(batch, height, width, *support.shape[2:], -1)
        return query + support.permute(0, 2, 3, 1).reshape(query.shape)


class Squeeze(nn.Module):
    """Centre-pivot convolutions, each with a group norm and ReLU.

    Args:
        channels: Channels before the first and behind every convolution.
        kernels: Kernel of every convolution.
        strides: Stride of every convolution.
    """

    def __init__(
        self, channels: Sequence[int], kernels: Sequence[int], strides: Sequence[int]
    ) -> None:
        super().__init__()
        self.strides = tuple(strides)
        self.convolutions = nn.ModuleList(
            CenterPivotConvolution(*sizes, kernel, stride)
            for sizes, kernel, stride in zip(pairwise(channels), kernels, strides, strict=True)
        )
        self.norms = nn.ModuleList(MaskedGroupNorm(one) for one in channels[1:])

    def forward(
        self, grid: Tensor, query_valid: Tensor, support_valid: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The squeezed correlation, (B, h, w, n', m', D), and its valid support positions.

        Args:
            grid: (B, h, w, n, m, C), 0 at pairs with padding.
            query_valid: (B, h, w) bool.
            support_valid: (B, n, m) bool.
        """
        layers = zip(self.convolutions, self.norms, self.strides, strict=True)
        for convolve, norm, stride in layers:
            support_valid = support_valid[:, ::stride, ::stride]
            inside = pair_mask(query_valid, support_valid)
            grid = norm(convolve(grid), inside).relu() * inside
        return grid, support_valid
