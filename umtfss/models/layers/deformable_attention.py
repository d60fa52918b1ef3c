"""Single-level deformable attention (arXiv:2010.04159) in pure PyTorch.

Every head of a token reads P points around the token with bilinear interpolation. Offsets and
weights of the points are computed from the token. `grid_sample` would write the P samples of every
head and channel to memory, and once more after weighting. A weighted embedding bag over the 4 P
corners sums the samples directly, which takes a third of the time on a CPU.

Shapes: B batch, h w feature grid, N = h * w, d model width, P points, T rows of a table.
"""

import math
import warnings
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from scipy import sparse
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

# torch calls its sparse tensors beta; tests cover the operations that are used here.
warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta state")


class _WeightedGather(torch.autograd.Function):
    """out[n] = sum over k of weight[n, k] * table[index[n, k]], in one dtype.

    The result is the product of a sparse matrix, with K entries per row, and the table. So the
    table's gradient is the transposed matrix times the output's gradient, and the weights' gradient
    is a product sampled at the matrix's entries. Both take a fraction of the time of torch's own
    gradients of an embedding bag.
    """

    @staticmethod
    def forward(ctx: Any, table: Tensor, index: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(table, index, weight)
        return F.embedding_bag(index, table, per_sample_weights=weight, mode="sum")

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, Tensor]:
        table, index, weight = ctx.saved_tensors
        gradient = gradient.contiguous()
        bag, start, sorted_weight = _by_row(index, weight, len(table))
        table_gradient = F.embedding_bag(
            bag, gradient, start, per_sample_weights=sorted_weight, mode="sum"
        )
        return table_gradient, None, _entry_gradient(table, index, weight, gradient)


def _by_row(index: Tensor, weight: Tensor, rows: int) -> tuple[Tensor, Tensor, Tensor]:
    """The entries sorted by table row: bag and weight of every entry, and the start of every row.

    Args:
        index: (n, K).
        weight: (n, K).
        rows: T.

    Returns:
        (n K,) bag; (T,) start; (n K,) weight.
    """
    if index.is_cpu:  # scipy counts entries per row, torch sorts them
        start = np.arange(0, index.numel() + 1, index.shape[1], dtype=index.numpy().dtype)
        entries = (weight.flatten().numpy(), index.flatten().numpy(), start)
        by_row = sparse.csr_matrix(entries, (len(index), rows)).tocsc()
        bag, start, sorted_weight = by_row.indices, by_row.indptr[:-1], by_row.data
        return torch.from_numpy(bag), torch.from_numpy(start), torch.from_numpy(sorted_weight)
    row, entry = index.flatten().sort()
    every_row = torch.arange(rows, dtype=row.dtype, device=row.device)
    first = torch.searchsorted(row, every_row, out_int32=row.dtype == torch.int32)
    bag = entry.div(index.shape[1], rounding_mode="floor").to(row.dtype)
    return bag, first, weight.flatten()[entry]


def _entry_gradient(table: Tensor, index: Tensor, weight: Tensor, gradient: Tensor) -> Tensor:
    """The dot product of every entry's bag gradient and table row, (n, K)."""
    if index.is_cpu:
        start = torch.arange(0, index.numel() + 1, index.shape[1], dtype=index.dtype)
        entries = torch.sparse_csr_tensor(
            start,
            index.flatten(),
            weight.flatten(),
            (len(index), len(table)),
            check_invariants=False,
        )
        return (
            torch.sparse.sampled_addmm(entries, gradient, table.T, beta=0).values().view_as(index)
        )
    with torch.enable_grad():
        weight = weight.detach().requires_grad_()
        bags = F.embedding_bag(index, table, per_sample_weights=weight, mode="sum")
        return torch.autograd.grad(bags, weight, gradient)[0]


class DeformableAttention(nn.Module):
    """Attention of each token to P learned points per head on its own feature grid.

    Padding has zero values, like everything outside the grid, so the result does not depend on the
    amount of padding.

    Args:
        width: d.
        heads: Number of heads, a divisor of d.
        points: P. Points are initialised on a ray at distances 1 .. P tokens, with one direction
            per head.
        dropout: Rate in training at which the values of whole tokens and the weights of single
            points are dropped; 0.1 in the releases of UMTFSS and CyCTR.
    """

    def __init__(self, width: int, heads: int, points: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.heads, self.points, self.rate = heads, points, dropout
        self.offsets = nn.Linear(width, heads * 2 * points)
        self.weights = nn.Linear(width, heads * points)
        self.value = nn.Linear(width, width, bias=False)
        self.output = nn.Linear(width, width, bias=False)
        angle = torch.arange(heads) * (2 * math.pi / heads)
        direction = torch.stack([angle.cos(), angle.sin()], 1)
        direction = direction / direction.abs().amax(1, keepdim=True)
        star = direction[:, :, None] * torch.arange(1, points + 1)
        with torch.no_grad():
            self.offsets.bias.copy_(star.flatten())
        for layer in (self.offsets, self.weights):
            nn.init.zeros_(layer.weight)
        for layer in (self.value, self.output):
            nn.init.xavier_uniform_(layer.weight)
        nn.init.zeros_(self.weights.bias)

    def forward(self, x: Tensor, position: Tensor, valid: Tensor) -> Tensor:
        """The attended tokens, (B, N, d).

        Args:
            x: (B, N, d).
            position: (B, N, d), position encoding, for offsets and weights only.
            valid: (B, h, w) bool, False where a token's value is set to zero.
        """
        batch, height, width = valid.shape
        heads, points = self.heads, self.points
        placed = x + position
        if self.training and self.rate > 0:
            valid = valid & (torch.rand(valid.shape, device=valid.device) >= self.rate)
        value = self.value(x).view(batch, height, width, -1) * valid[..., None]
        offsets = self.offsets(placed).view(batch, height, width, heads, 2, points)
        weights = self.weights(placed).view(batch, height, width, heads, points).softmax(-1)
        weights = F.dropout(weights, self.rate, self.training)

        # A border of zeros (one before, two behind) contains every corner of a clamped point.
        # Gathering is bound by memory access: half precision saves no time and makes sums worse.
        value = value.to(torch.promote_types(value.dtype, torch.float32))
        table = F.pad(value, (0, 0, 1, 2, 1, 2)).view(-1, value.shape[-1] // heads)
        column = torch.arange(width, dtype=torch.float32, device=x.device)[:, None, None]
        row = torch.arange(height, dtype=torch.float32, device=x.device)[:, None, None, None]
        x_at = (offsets[..., 0, :] + column).clamp(-1, width)
        y_at = (offsets[..., 1, :] + row).clamp(-1, height)
        x_left, y_top = x_at.detach().floor(), y_at.detach().floor()
        x_part, y_part = x_at - x_left, y_at - y_top

        stride = width + 3
        integer = torch.int32 if len(table) < 2**31 else torch.int64
        start = torch.arange(batch, dtype=integer, device=x.device).view(-1, 1, 1, 1, 1)
        start = (start * (height + 3) + 1) * stride + 1
        corner = (start + (y_top.to(integer) * stride).add_(x_left.to(integer))) * heads
        corner += torch.arange(heads, dtype=integer, device=x.device)[:, None]
        lower = stride * heads
        index = torch.cat([corner, corner + heads, corner + lower, corner + (lower + heads)], -1)

        bottom = y_part * weights
        top = weights - bottom
        bottom_right, top_right = bottom * x_part, top * x_part
        share = torch.cat([top - top_right, top_right, bottom - bottom_right, bottom_right], -1)
        sampled = _WeightedGather.apply(
            table, index.view(-1, 4 * points), share.view(-1, 4 * points).to(table.dtype)
        )
        return self.output(sampled.view(x.shape))
