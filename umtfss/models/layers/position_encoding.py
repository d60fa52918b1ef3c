"""The valid area of a grid, and the sine codes of positions.

Shapes: B batch, d model width, h w feature grid, g g square grid. Padding is at the right and at
the bottom.
"""

import math

import torch
from torch import Tensor

_COUNT = 1e-6  # added to the denominator of the counted code, as in the releases


def valid_extent(valid: Tensor) -> tuple[Tensor, Tensor]:
    """Rows and columns of the area that holds every valid token, (...,) int64 each, at least 1.

    The area may contain tokens that are not valid (label 255).

    Args:
        valid: (..., h, w) bool.
    """
    height, width = valid.shape[-2:]
    rows = torch.arange(1, height + 1, device=valid.device)
    columns = torch.arange(1, width + 1, device=valid.device)
    return (
        (valid.any(-1) * rows).amax(-1).clamp(min=1),
        (valid.any(-2) * columns).amax(-1).clamp(min=1),
    )


def sine_position_encoding(valid: Tensor, width: int) -> Tensor:
    """The sine code of each token's position (arXiv:2005.12872), (B, h, w, d) float32.

    Half of the channels encode the row and half the column. Both are scaled to (0, 2 pi) over the
    valid area, so the code of a token does not depend on the padding.

    Args:
        valid: (B, h, w) bool.
        width: d, a multiple of 4.
    """
    grid_height, grid_width = valid.shape[-2:]
    pair = torch.arange(width // 4, device=valid.device)
    rate = 10_000.0 ** (-pair / (width // 4))
    codes = []
    for side, extent in zip((grid_height, grid_width), valid_extent(valid), strict=True):
        place = (torch.arange(side, device=valid.device) + 0.5) * (2 * math.pi)
        angle = (place / extent[:, None])[..., None] * rate
        codes.append(torch.cat([angle.sin(), angle.cos()], -1))
    encoding = codes[0].new_empty(len(valid), grid_height, grid_width, width)
    encoding[..., : width // 2] = codes[0][:, :, None]
    encoding[..., width // 2 :] = codes[1][:, None]
    return encoding


def position_encoding(valid: Tensor, width: int, kind: str) -> Tensor:
    """The code of each token's position, by `model.position_code`, (B, h * w, d) float32.

    Args:
        valid: (B, h, w) bool.
        width: d, a multiple of 4.
        kind: "centred" or "counted".
    """
    code = sine_position_encoding if kind == "centred" else counted_position_encoding
    return code(valid, width).flatten(1, 2)


def counted_position_encoding(valid: Tensor, width: int) -> Tensor:
    """The sine code of positions in the released models, (B, h, w, d) float32.

    A token's position is the number of valid tokens up to and including the token, over the number
    of valid tokens in its column (or row). Sines and cosines alternate. Padding keeps the last
    count.

    Args:
        valid: (B, h, w) bool.
        width: d, a multiple of 4.
    """
    half = width // 2
    channel = torch.arange(half, dtype=torch.float32, device=valid.device)
    rate = 10_000.0 ** (2 * torch.div(channel, 2, rounding_mode="floor") / half)
    codes = []
    for axis in (1, 2):
        count = valid.float().cumsum(axis)
        place = count / (count.narrow(axis, -1, 1) + _COUNT) * (2 * math.pi)
        angle = place[..., None] / rate
        codes.append(torch.where(channel % 2 == 0, angle.sin(), angle.cos()))
    return torch.cat(codes, -1)


def repeat_edge(logits: Tensor, valid: Tensor, side: int | None = None) -> Tensor:
    """Replace the logits of padding by the nearest logits in the valid area.

    Upsampling then treats the border of the valid area like the border of an un-padded image.

    Args:
        logits: (B, C, h, w).
        valid: (B, h, w) bool.
        side: g, to fill a square grid, (B, C, g, g); None: the grid stays h w.
    """
    height, width = (side, side) if side is not None else valid.shape[-2:]
    rows, columns = valid_extent(valid)
    row = torch.arange(height, device=valid.device).minimum(rows[:, None] - 1)
    column = torch.arange(width, device=valid.device).minimum(columns[:, None] - 1)
    nearest = (row[:, :, None] * valid.shape[-1] + column[:, None]).flatten(1)
    index = nearest[:, None].expand(-1, logits.shape[1], -1)
    return logits.flatten(2).gather(2, index).view(*logits.shape[:2], height, width)


def fill_padding(logits: Tensor, valid: Tensor, side: int | None, padding_is_seen: bool) -> Tensor:
    """The logits that a model returns: after `repeat_edge`, or unchanged if padding is seen.

    Args:
        logits: (B, C, h, w); logits of the whole square grid if padding is seen.
        valid: (B, h, w) bool.
        side: As in `repeat_edge`.
        padding_is_seen: Whether padding has logits of its own.
    """
    return logits if padding_is_seen else repeat_edge(logits, valid, side)
