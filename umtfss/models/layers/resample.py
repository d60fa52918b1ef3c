"""Coarser grids of a feature map, and back, without a trace of the padding.

A coarse grid has square cells of 1 / scale tokens, the first at the top left corner, so that a
cell holds the same tokens however much padding there is. Where the side of the padded grid is a
multiple of a cell, the cells are those of adaptive average pooling. Both directions are separable
and linear: one small matrix for the rows and one for the columns of every image, which knows the
image's valid extent. So the valid area is a rectangle at the top left, as that of a query is.

Shapes: B batch, h w feature grid, n m coarse grid, d channels.
"""

from math import ceil, floor

import torch
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
