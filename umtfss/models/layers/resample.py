"""Coarser grids of a feature map, and back.

`WholeScale` resamples padding like the image, as PFENet's release does.

`MaskedScale` leaves no trace of it. A coarse grid has square cells of 1 / scale tokens, the first
at the top left corner, so that a cell holds the same tokens however much padding there is. If the
side of the padded grid is a multiple of a cell, the cells are those of adaptive average pooling.
Both directions are separable and linear: one small matrix for the rows and one for the columns of
every image, which knows the image's valid extent. So the valid area is a rectangle at the top left,
as that of a query is.

Shapes: B batch, h w feature grid, n m coarse grid, d channels.
"""

from math import ceil, floor
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

_TOLERANCE = 1e-6  # of a token; a scale like 2/15 is not exact


def cells(side: int, scale: float) -> int:
    """How many cells cover `side` tokens."""
    return ceil(side * scale - _TOLERANCE)


def pooling(extent: Tensor, side: int, scale: float) -> Tensor:
    """(B, n, side) float32: a cell's mean over its valid tokens; a row of zeros without any.

    A token that a cell's border cuts belongs to both cells, as in adaptive average pooling.

    Args:
        extent: (B,) int64, valid tokens along this axis.
        side: All tokens along it.
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
    """(B, side, n) float32: linear interpolation between the centres of the cells in use.

    Beyond the centre of the last cell that holds a valid token, and before that of the first, the
    nearest cell counts. Padding gets some value of the valid cells.

    Args:
        extent: (B,) int64, valid tokens along this axis.
        side: All tokens along it.
        scale: Cells per token, at most 1.
    """
    count = cells(side, scale)
    used = torch.ceil(extent * scale - _TOLERANCE)[:, None]
    place = (torch.arange(side, device=extent.device) + 0.5) * scale - 0.5
    place = place.clamp(min=0).minimum(used - 1)
    distance = place[..., None] - torch.arange(count, device=extent.device)
    return (1 - distance.abs()).clamp(min=0)


def resample(grid: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """(B, n, m, d) of a (B, h, w, d) grid.

    Args:
        grid: (B, h, w, d).
        rows: (B, n, h).
        columns: (B, m, w).
    """
    batch, _, width, channels = grid.shape
    rows, columns = rows.to(grid.dtype), columns.to(grid.dtype)
    grid = torch.bmm(rows, grid.flatten(2)).view(batch, -1, width, channels)
    return torch.matmul(columns[:, None], grid)


class Scale(Protocol):
    """One coarse grid of a pyramid, and the ways to it and back.

    Attributes:
        inside: (B, n, m, 1) bool, cells that hold a part of the image.
    """

    inside: Tensor

    def pool(self, grid: Tensor) -> Tensor:
        """(B, n, m, d) means of the cells of a (B, h, w, d) grid."""

    def shrink(self, grid: Tensor) -> Tensor:
        """(B, n, m, d) of a (B, h, w, d) grid that is smooth."""

    def grow(self, grid: Tensor) -> Tensor:
        """(B, h, w, d) of a (B, n, m, d) grid."""


class MaskedScale:
    """A coarse grid of square cells that knows of the valid tokens alone.

    Args:
        rows: (B,) int64, valid rows of each image.
        columns: (B,) int64, valid columns.
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
        """(B, n, m, d) means over the valid tokens of each cell."""
        return resample(grid, *self.down)

    def shrink(self, grid: Tensor) -> Tensor:
        """The same as `pool`."""
        return self.pool(grid)

    def grow(self, grid: Tensor) -> Tensor:
        """(B, h, w, d) interpolated between the centres of the cells in use."""
        return resample(grid, *self.up)


class WholeScale:
    """A coarse grid of the whole token grid, padding included, as in PFENet's release.

    Means are adaptive average pooling; the other ways interpolate with corners aligned.
    The number of cells is rounded down.

    Args:
        grid: (h, w).
        scale: Cells per token.
        like: A tensor of the batch, for its size and device.
    """

    def __init__(self, grid: tuple[int, int], scale: float, like: Tensor) -> None:
        self.grid = grid
        self.coarse = self._whole_cells(grid[0], scale), self._whole_cells(grid[1], scale)
        self.inside = like.new_ones(len(like), *self.coarse, 1, dtype=torch.bool)

    def pool(self, grid: Tensor) -> Tensor:
        """(B, n, m, d) means of the cells."""
        return F.adaptive_avg_pool2d(grid.permute(0, 3, 1, 2), self.coarse).permute(0, 2, 3, 1)

    def shrink(self, grid: Tensor) -> Tensor:
        """(B, n, m, d) interpolated."""
        return self._interpolated(grid, self.coarse)

    def grow(self, grid: Tensor) -> Tensor:
        """(B, h, w, d) interpolated."""
        return self._interpolated(grid, self.grid)

    @staticmethod
    def _whole_cells(side: int, scale: float) -> int:
        """Cells of `side` tokens, rounded down; 1 where the release would have none."""
        return max(1, floor(side * scale + _TOLERANCE))

    @staticmethod
    def _interpolated(grid: Tensor, size: tuple[int, int]) -> Tensor:
        maps = grid.permute(0, 3, 1, 2)
        maps = F.interpolate(maps, size, mode="bilinear", align_corners=True)
        return maps.permute(0, 2, 3, 1)
