"""A pyramid of dilated convolutions (ASPP, arXiv:1706.05587) that excludes padding.

Shapes: B batch, d width, h w feature grid.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class DilatedPyramid(nn.Module):
    """The image's mean, a 1x1 and dilated 3x3 convolutions, each with ReLU, joined to d channels.

    Args:
        width: d.
        dilations: Dilation of each 3x3 convolution, tokens.
    """

    def __init__(self, width: int, dilations: Sequence[int]) -> None:
        super().__init__()
        self.mean = nn.Conv2d(width, width, 1)
        self.point = nn.Conv2d(width, width, 1)
        self.dilated = nn.ModuleList(
            nn.Conv2d(width, width, 3, padding=one, dilation=one) for one in dilations
        )
        self.join = nn.Conv2d((2 + len(dilations)) * width, width, 1, bias=False)
        for branch in (self.mean, self.point, *self.dilated):
            assert isinstance(branch, nn.Conv2d)
            nn.init.kaiming_normal_(branch.weight)

    def forward(self, grid: Tensor, valid: Tensor) -> Tensor:
        """The joined branches, (B, d, h, w).

        Args:
            grid: (B, d, h, w).
            valid: (B, h, w) bool, False where convolutions see zeros.
        """
        inside = valid[:, None]
        grid = grid * inside
        mean = grid.sum((2, 3), keepdim=True) / inside.sum((2, 3), keepdim=True).clamp(min=1)
        branches = [self.mean(mean.to(grid.dtype)).expand_as(grid)]
        branches += [branch(grid) for branch in (self.point, *self.dilated)]
        joined: Tensor = self.join(torch.cat(branches, 1).relu())
        return joined.relu()
