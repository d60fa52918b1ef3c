"""The relation of a feature grid to pixels; no other module computes it.

Shapes: H W pixels, h w un-padded grid, g g padded square grid, S S target.

Coordinates count from the centre of the first token or pixel. Token t lies at pixel
`t (H - 1) / (h - 1)` if the backbone aligns corners (dilated ResNet), else at
`(t + 1/2) H / h - 1/2` (patches). Both formulas need the original size and the grid alone, and not
the size that the backbone saw.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from umtfss.common.errors import StoreError
from umtfss.data.images import IGNORE


@dataclass(frozen=True)
class GridGeometry:
    """The geometry of a source of features, the same for all of its images.

    Attributes:
        channels: Level -> C, in the stored order.
        long_side: Image long side, px; the backbone sees the largest valid side up to `long_side`.
        stride: Distance of tokens, px.
        multiple: Valid sides are multiples of this number, plus 1 px if corners are aligned, px.
        align_corners: Whether corner tokens lie on corner pixels.
    """

    channels: Mapping[str, int]
    long_side: int
    stride: int
    multiple: int
    align_corners: bool

    @property
    def side(self) -> int:
        """The side g of the square grid that every image fits in, tokens."""
        extra = int(self.align_corners)
        blocks = (self.long_side - extra) // self.multiple
        return blocks * self.multiple // self.stride + extra


def check_grid(grid: tuple[int, int], side: int, image_id: str) -> None:
    """Check that an image's grid fits the padded grid of `side` tokens.

    Raises:
        StoreError: The grid is larger.
    """
    if max(grid) > side:
        raise StoreError(
            f"the features of {image_id} do not fit the padded grid",
            expected=f"at most {side} x {side} tokens",
            found=f"{grid[0]} x {grid[1]}",
            fix="extract the features again at the experiment's long_side",
        )


def token_to_pixel(token: np.ndarray, tokens: int, pixels: int, align: bool) -> np.ndarray:
    """The pixel coordinates of token coordinates along one axis, both float.

    A single token lies at the centre of its axis, whatever `align` is.
    """
    if align and tokens > 1:
        return token * ((pixels - 1) / (tokens - 1))
    return (token + 0.5) * (pixels / tokens) - 0.5


@lru_cache(maxsize=512)
def cell_weights(tokens: int, pixels: int, align: bool) -> np.ndarray:
    """The part of each token's cell that each pixel covers, (tokens, pixels) float32.

    Rows sum to 1. A cell extends half-way to the neighbouring tokens and ends at the image border.
    """
    edges = token_to_pixel(np.arange(tokens + 1) - 0.5, tokens, pixels, align) + 0.5
    edges = edges.clip(0, pixels)[:, None]
    left = np.arange(pixels)
    overlap = np.minimum(edges[1:], left + 1) - np.maximum(edges[:-1], left)
    overlap = overlap.clip(0)
    weights = (overlap / overlap.sum(1, keepdims=True)).astype(np.float32)
    weights.setflags(write=False)
    return weights


def mask_to_grid(mask: np.ndarray, grid: tuple[int, int], align: bool) -> tuple[np.ndarray, ...]:
    """The foreground part of every token, and whether the token is valid.

    Args:
        mask: (H, W) uint8 in {0, 1, 255}.
        grid: (h, w).
        align: Whether the grid aligns corners.

    Returns:
        (h, w) float32 in [0, 1], foreground over labelled area of the token, 0 where not valid;
        (h, w) bool, True where at least half of the token's area is labelled (not 255).
    """
    rows = cell_weights(grid[0], mask.shape[0], align)
    columns = cell_weights(grid[1], mask.shape[1], align).T
    foreground = rows @ (mask == 1).astype(np.float32) @ columns
    ignored = mask == IGNORE
    if not ignored.any():
        return foreground.clip(0, 1), np.ones(grid, dtype=bool)
    labelled = rows @ (~ignored).astype(np.float32) @ columns
    valid = labelled >= 0.5
    part = np.divide(foreground, labelled, out=np.zeros_like(foreground), where=valid)
    return part.clip(0, 1), valid


@lru_cache(maxsize=512)
def token_pixels(tokens: int, pixels: int, align: bool) -> np.ndarray:
    """The pixel at the centre of every token and the pixel at its start, (2, tokens) int64.

    The released models read masks by single pixels. The pixel at the centre stands for bilinear
    interpolation of the mask, rounded to the nearest pixel; the pixel at the start is the choice of
    torch's nearest-neighbour interpolation.
    """
    centre = np.floor(token_to_pixel(np.arange(tokens), tokens, pixels, align) + 0.5)
    start = np.arange(tokens) * pixels // tokens
    found = np.stack([centre.clip(0, pixels - 1), start]).astype(np.int64)
    found.setflags(write=False)
    return found


def sampled_mask(mask: np.ndarray, grid: tuple[int, int], align: bool) -> np.ndarray:
    """The labels of the two pixels of every token from `token_pixels`, (2, h, w) uint8.

    Args:
        mask: (H, W) uint8 in {0, 1, 255}.
        grid: (h, w).
        align: Whether the grid aligns corners.
    """
    rows = token_pixels(grid[0], mask.shape[0], align)
    columns = token_pixels(grid[1], mask.shape[1], align)
    return mask[rows[:, :, None], columns[:, None]]


def crop_corner(
    foreground: np.ndarray, height: int, width: int, keep: float, position: float
) -> tuple[int, int]:
    """The top left corner of a crop that keeps at least `keep` of the foreground.

    The crop is drawn uniformly from all crops that keep enough foreground. If there is none, the
    crop is one that keeps the most.

    Args:
        foreground: (H, W) bool or float, pixels or tokens; at least as large as the crop.
        height: Height of the crop.
        width: Width of the crop.
        keep: Part of the foreground to keep, 0 to 1.
        position: Number in [0, 1) that picks one of the corners.
    """
    exact = np.int64 if foreground.dtype == bool else np.float64
    sums = np.zeros((foreground.shape[0] + 1, foreground.shape[1] + 1), dtype=exact)
    sums[1:, 1:] = foreground.cumsum(0, dtype=exact).cumsum(1)
    kept = sums[height:] - sums[:-height]
    kept = kept[:, width:] - kept[:, :-width]
    enough = np.flatnonzero(kept >= min(keep * sums[-1, -1], kept.max()))
    top, left = divmod(int(enough[int(position * len(enough))]), kept.shape[1])
    return top, left


@lru_cache(maxsize=4096)
def target_index(
    target: int, side: int, tokens: int, pixels: int, align: bool
) -> tuple[np.ndarray, np.ndarray]:
    """The pixel that each row (or column) of the target shows.

    The loss upsamples the padded grid bilinearly to the target, with aligned corners if the
    backbone aligns corners. A target pixel shows the label at its place in the image.

    Args:
        target: S.
        side: Side of the padded grid.
        tokens: Tokens of the whole image along the axis.
        pixels: Pixels of the whole image along the axis.
        align: Whether the grid aligns corners.

    Returns:
        (target,) int64 pixel; (target,) bool, True inside the image.
    """
    token = np.arange(target, dtype=float)
    if align:
        token *= (side - 1) / max(target - 1, 1)
    else:
        token = (token + 0.5) * (side / target) - 0.5
    pixel = np.floor(token_to_pixel(token, tokens, pixels, align) + 0.5)
    inside = (pixel >= 0) & (pixel < pixels)
    return pixel.clip(0, pixels - 1).astype(np.int64), inside


def mask_to_target(
    mask: np.ndarray, grid: tuple[int, int], side: int, target: int, align: bool
) -> np.ndarray:
    """The mask at the pixels of the loss's target, (S, S) uint8; 255 outside the image.

    Args:
        mask: (H, W) uint8 in {0, 1, 255}.
        grid: (h, w), un-padded.
        side: Side of the padded grid.
        target: Side S of the target.
        align: Whether the grid aligns corners.
    """
    row, row_inside = target_index(target, side, grid[0], mask.shape[0], align)
    column, column_inside = target_index(target, side, grid[1], mask.shape[1], align)
    sampled = mask[row[:, None], column]
    sampled[~(row_inside[:, None] & column_inside)] = IGNORE
    return sampled
