"""Rectangles of a feature grid, and convolutions that are computed in one alone.

Shapes: B batch, C channels, H W grid of the input, h w grid of the output.
"""

from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor


class Margin(NamedTuple):
    """The tokens by which the input of a convolution exceeds its output, on each side.

    Where the margin is smaller than the convolution's padding, the map ends and zeros follow.
    """

    top: int = 0
    bottom: int = 0
    left: int = 0
    right: int = 0

    def inside(self, x: Tensor) -> Tensor:
        """The map without its margin, (B, C, h, w)."""
        height, width = x.shape[2:]
        return x[:, :, self.top : height - self.bottom, self.left : width - self.right]

    def filled(self, x: Tensor, padding: int) -> Tensor:
        """The map with zeros up to a margin of `padding` on all sides."""
        return F.pad(x, [padding - side for side in (*self[2:], *self[:2])])


NO_MARGIN = Margin()


class Box(NamedTuple):
    """The rows from `top` to `bottom` - 1 and the columns from `left` to `right` - 1."""

    top: int
    bottom: int
    left: int
    right: int

    @classmethod
    def around(cls, tokens: Tensor) -> "Box | None":
        """The smallest box with all of these tokens, (H, W) bool; None if there is no token."""
        rows, columns = (tokens.any(axis).nonzero()[:, 0].tolist() for axis in (1, 0))
        return cls(rows[0], rows[-1] + 1, columns[0], columns[-1] + 1) if rows else None

    def grown(self, by: int, size: tuple[int, int]) -> "Box":
        """The box with `by` more tokens on each side, as far as the grid of that size goes."""
        height, width = size
        return Box(
            max(self.top - by, 0),
            min(self.bottom + by, height),
            max(self.left - by, 0),
            min(self.right + by, width),
        )

    def margin_in(self, outer: "Box") -> Margin:
        """The margin of the box in a box around it."""
        return Margin(
            self.top - outer.top,
            outer.bottom - self.bottom,
            self.left - outer.left,
            outer.right - self.right,
        )

    def of(self, x: Tensor) -> Tensor:
        """The part of a (B, C, H, W) map in the box, a view."""
        return x[:, :, self.top : self.bottom, self.left : self.right]
