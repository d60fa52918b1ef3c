"""Attentive squeeze of a correlation, the layer of ASNet (arXiv:2203.12615).

Shapes: B batch, h w query grid, n m support grid, n' m' squeezed support grid, C D channels.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from umtfss.models.layers.correlation import MaskedGroupNorm, pair_mask

HEADS = 8


class AttentiveSqueeze(nn.Module):
    """Attention over the support's positions, at every query position for itself.

    Queries are a strided convolution of the support's plane, so the plane shrinks. A key is shown
    if its cell of the support holds foreground. The release reads single pixels of the mask, on a
    grid of 2 x 2 the four corners, which hides nearly every key. Scores are not scaled. A
    feed-forward network follows. All norms count valid pairs alone.

    Args:
        channels_in: C.
        channels_out: D, a multiple of 16.
        kernel: Side of the convolution. 2 has no padding and shrinks the plane by one.
        stride: Stride over the support's plane.
        pooled: Whether keys and values are convolved as queries are; otherwise they are 1x1.
    """

    def __init__(
        self, channels_in: int, channels_out: int, kernel: int, stride: int, pooled: bool
    ) -> None:
        super().__init__()
        self.kernel, self.stride, self.pooled = kernel, stride, pooled
        self.padding = kernel // 2 if kernel > 2 else 0
        hidden, side = channels_out // 2, kernel if pooled else 1
        self.query = nn.Conv2d(channels_in, hidden, kernel)
        self.key = nn.Conv2d(channels_in, hidden, side)
        self.value = nn.Conv2d(channels_in, hidden, side)
        self.shortcut: nn.Module | None = None
        if channels_in != channels_out or (kernel, stride) != (1, 1):
            self.shortcut = nn.Conv2d(channels_in, channels_out, kernel, bias=False)
            self.shortcut_norm = MaskedGroupNorm(channels_out)
        self.attended_norm = MaskedGroupNorm(hidden)
        self.expand = nn.Linear(hidden, channels_out, bias=False)
        self.expanded_norm = MaskedGroupNorm(channels_out)
        self.sum_norm = MaskedGroupNorm(channels_out)
        self.narrow = nn.Linear(channels_out, hidden, bias=False)
        self.narrow_norm = MaskedGroupNorm(hidden)
        self.widen = nn.Linear(hidden, channels_out, bias=False)
        self.last_norm = MaskedGroupNorm(channels_out)

    def forward(
        self, grid: Tensor, query_valid: Tensor, support_valid: Tensor, mask: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The squeezed correlation, (B, h, w, n', m', D), its valid support positions and mask.

        Args:
            grid: (B, h, w, n, m, C), 0 at pairs with padding.
            query_valid: (B, h, w) bool.
            support_valid: (B, n, m) bool.
            mask: (B, n, m) float, largest foreground part in a position's cell.
        """
        valid, coarse = self._strided(support_valid), self._pooled(mask)
        inside = pair_mask(query_valid, valid)
        keys = (valid, coarse) if self.pooled else (support_valid, mask)
        out = self._attended(grid, shown_keys(*keys)).view(*inside.shape[:-1], -1)
        out = self.expand(self.attended_norm(out, inside).relu())
        out = self.expanded_norm(out, inside).relu() + self._shortcut(grid, inside)
        out = self.sum_norm(out, inside)
        hidden = self.narrow_norm(self.narrow(out), inside).relu()
        out = self.last_norm(out + self.widen(hidden), inside)
        return out * inside, valid, coarse

    def _attended(self, grid: Tensor, shown: Tensor) -> Tensor:
        """The attention's result, (B * h * w, N', D / 2).

        Args:
            grid: (B, h, w, n, m, C).
            shown: (B, N) bool, keys to attend to.
        """
        query, key, value = (
            self._convolved(layer, grid).flatten(1, 2).unflatten(2, (HEADS, -1)).transpose(1, 2)
            for layer in (self.query, self.key, self.value)
        )
        places = grid.shape[1] * grid.shape[2]
        shown = shown[:, None].expand(-1, places, -1).flatten(0, 1)[:, None, None]
        found = F.scaled_dot_product_attention(query, key, value, shown, scale=1.0)
        return found.transpose(1, 2).flatten(2)

    def _shortcut(self, grid: Tensor, inside: Tensor) -> Tensor:
        """The correlation at the squeezed positions, (B, h, w, n', m', D)."""
        if self.shortcut is None:
            return grid
        convolved = self._convolved(self.shortcut, grid).view(*inside.shape[:-1], -1)
        return self.shortcut_norm(convolved, inside).relu()

    def _convolved(self, layer: nn.Module, grid: Tensor) -> Tensor:
        """A convolution over the support's plane, (B * h * w, n', m', D)."""
        assert isinstance(layer, nn.Conv2d)
        images = grid.flatten(0, 2).permute(0, 3, 1, 2)
        if layer.kernel_size[0] == self.kernel:
            images = self._grown(images)
            found = F.conv2d(images, layer.weight, layer.bias, self.stride, self.padding)
        else:
            found = layer(images)
        return found.permute(0, 2, 3, 1)

    def _grown(self, planes: Tensor) -> Tensor:
        """Planes (..., n, m) with a row or a column of zeros if a kernel of 2 would not fit."""
        height, width = planes.shape[-2:]
        lacking = (
            max(self.kernel - 2 * self.padding - width, 0),
            max(self.kernel - 2 * self.padding - height, 0),
        )
        return F.pad(planes, (0, lacking[0], 0, lacking[1])) if any(lacking) else planes

    def _pooled(self, mask: Tensor) -> Tensor:
        """The largest value in the cell of every squeezed position, (B, n', m')."""
        side = self.stride if self.padding else self.kernel
        planes = self._grown(mask[:, None])
        return F.max_pool2d(planes, side, self.stride, ceil_mode=True)[:, 0]

    def _strided(self, valid: Tensor) -> Tensor:
        """The valid squeezed positions, (B, n', m') bool; a kernel of 2 leaves one at least."""
        if self.kernel != 2:
            return valid[:, :: self.stride, :: self.stride]
        for axis in (1, 2):
            size = valid.shape[axis]
            if size > 1:
                parts = valid.narrow(axis, 0, 1), valid.narrow(axis, 2, size - 2)
                valid = torch.cat(parts, axis)
        return valid


def shown_keys(valid: Tensor, mask: Tensor) -> Tensor:
    """The keys to attend to, (B, n * m) bool: valid foreground, or all valid ones without any.

    Args:
        valid: (B, n, m) bool.
        mask: (B, n, m) float, foreground part.
    """
    valid = valid.flatten(1)
    foreground = (mask.flatten(1) > 0) & valid
    return torch.where(foreground.any(1, keepdim=True), foreground, valid)
