"""Resampling of a feature map to coarser grids, and back.

`WholeScale` resamples padding like the image, as in PFENet's release.

`MaskedScale` excludes padding. A coarse grid has square cells of 1 / scale tokens, starting at the
top left corner, so a cell holds the same tokens whatever the padding. If the side of the padded
grid is a multiple of a cell, the cells equal those of adaptive average pooling. Both directions are
linear and separable: a small matrix for the rows and one for the columns of every image, made from
the image's valid extent. The valid area must be a rectangle at the top left, as it is for a query.

Shapes: B batch, h w feature grid, n m coarse grid, d channels.
"""

from math import ceil, floor
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

_TOLERANCE = 1e-6  # part of a token; a scale like 2/15 is not exact


def cells(side: int, scale: float) -> int:
    """The number of cells that cover `side` tokens."""
    return ceil(side * scale - _TOLERANCE)


def pooling(extent: Tensor, side: int, scale: float) -> Tensor:
    """The matrix of means over each cell's valid tokens, (B, n, side) float32.

    The row of a cell without valid tokens is 0. A token on the border of two cells belongs to both,
    as in adaptive average pooling.

    Args:
        extent: (B,) int64, number of valid tokens along this axis.
        side: Number of all tokens along this axis.
        scale: Cells per token, at most 1.
    """
    count = cells(side, scale)
    inside = torch.zeros(count, side)
    for cell in range(count):
        first, last = cell / scale + _TOLERANCE, (cell + 1) / scale - _TOLERANCE
        inside[cell, floor(first) : ceil(last)] = 1
    inside = inside.to(extent.device)
    weight = inside * (torch.arange(side, device=extent.device) < extent[:, None])[:, None]
    return weight / weight.sum(2, keepdim=True).clamp(min=1)


def upsampling(extent: Tensor, side: int, scale: float) -> Tensor:
    """The matrix of linear interpolation between the centres of used cells, (B, side, n) float32.

    Tokens before the centre of the first used cell, and behind the centre of the last, have the
    value of this cell. A cell is used if it holds a valid token. Padding gets values of used cells.

    Args:
        extent: (B,) int64, number of valid tokens along this axis.
        side: Number of all tokens along this axis.
        scale: Cells per token, at most 1.
    """
    count = cells(side, scale)
    used = torch.ceil(extent * scale - _TOLERANCE)[:, None]
    place = (torch.arange(side, device=extent.device) + 0.5) * scale - 0.5
    place = place.clamp(min=0).minimum(used - 1)
    distance = place[..., None] - torch.arange(count, device=extent.device)
    return (1 - distance.abs()).clamp(min=0)


def resample(grid: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Resample a grid by two matrices, (B, n, m, d).

    Args:
        grid: (B, h, w, d).
        rows: (B, n, h), matrix for the rows.
        columns: (B, m, w), matrix for the columns.
    """
    batch, _, width, channels = grid.shape
    rows, columns = rows.to(grid.dtype), columns.to(grid.dtype)
    grid = torch.bmm(rows, grid.flatten(2)).view(batch, -1, width, channels)
    return torch.matmul(columns[:, None], grid)


class Scale(Protocol):
    """One coarse grid of a pyramid, with resampling to this grid and back.

    Attributes:
        inside: (B, n, m, 1) bool, cells that hold a part of the image.
    """

    inside: Tensor

    def pool(self, grid: Tensor) -> Tensor:
        """Average the tokens of each cell, (B, h, w, d) -> (B, n, m, d)."""

    def shrink(self, grid: Tensor) -> Tensor:
        """Resample a smooth grid, (B, h, w, d) -> (B, n, m, d)."""

    def grow(self, grid: Tensor) -> Tensor:
        """Resample back to tokens, (B, n, m, d) -> (B, h, w, d)."""


class MaskedScale:
    """A coarse grid of square cells that excludes padding.

    Args:
        rows: (B,) int64, number of valid rows of each image.
        columns: (B,) int64, number of valid columns of each image.
        grid: (h, w).
        scale: Cells per token.
    """

    def __init__(self, rows: Tensor, columns: Tensor, grid: tuple[int, int], scale: float) -> None:
        height, width = grid
        self.down = pooling(rows, height, scale), pooling(columns, width, scale)
        self.up = upsampling(rows, height, scale), upsampling(columns, width, scale)
        used = [one.any(2) for one in self.down]
        self.inside = (used[0][:, :, None] & used[1][:, None])[..., None]

    def pool(self, grid: Tensor) -> Tensor:
        """Average the valid tokens of each cell, (B, h, w, d) -> (B, n, m, d)."""
        return resample(grid, *self.down)

    def shrink(self, grid: Tensor) -> Tensor:
        """The same as `pool`."""
        return self.pool(grid)

    def grow(self, grid: Tensor) -> Tensor:
        """Interpolate between the centres of used cells, (B, n, m, d) -> (B, h, w, d)."""
        return resample(grid, *self.up)


class WholeScale:
    """A coarse grid of the whole token grid, padding included, as in PFENet's release.

    `pool` is adaptive average pooling; `shrink` and `grow` interpolate with aligned corners. The
    number of cells is rounded down.

    Args:
        grid: (h, w).
        scale: Cells per token.
        like: A tensor of the batch, which gives batch size and device.
    """

    def __init__(self, grid: tuple[int, int], scale: float, like: Tensor) -> None:
        self.grid = grid
        self.coarse = self._whole_cells(grid[0], scale), self._whole_cells(grid[1], scale)
        self.inside = like.new_ones(len(like), *self.coarse, 1, dtype=torch.bool)

    def pool(self, grid: Tensor) -> Tensor:
        """Average the tokens of each cell, (B, h, w, d) -> (B, n, m, d)."""
        return F.adaptive_avg_pool2d(grid.permute(0, 3, 1, 2), self.coarse).permute(0, 2, 3, 1)

    def shrink(self, grid: Tensor) -> Tensor:
        """Interpolate, (B, h, w, d) -> (B, n, m, d)."""
        return self._interpolated(grid, self.coarse)

    def grow(self, grid: Tensor) -> Tensor:
        """Interpolate, (B, n, m, d) -> (B, h, w, d)."""
        return self._interpolated(grid, self.grid)

    @staticmethod
    def _whole_cells(side: int, scale: float) -> int:
        """The number of cells of `side` tokens, rounded down, at least 1 (the release: 0)."""
        return max(1, floor(side * scale + _TOLERANCE))

    @staticmethod
    def _interpolated(grid: Tensor, size: tuple[int, int]) -> Tensor:
        maps = grid.permute(0, 3, 1, 2)
        maps = F.interpolate(maps, size, mode="bilinear", align_corners=True)
        return maps.permute(0, 2, 3, 1)
