"""The correlation of every query token with every support token, and what models do to it.

Shapes: B batch, K shots, h w query grid, n m support grid, C channels, L levels of a group. A
correlation has the query's plane, the support's plane, and channels last: (B, h, w, n, m, C).
"""

from collections.abc import Sequence
from itertools import groupby
from math import ceil
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from umtfss.common.onednn import linear
from umtfss.episodes.batch import EpisodeBatch
from umtfss.models.layers.position_encoding import valid_extent
from umtfss.models.layers.resample import MaskedScale

GROUPS = 3  # groups of levels, as layers 2 to 4 of a ResNet
LARGEST_SIDE = 32  # of a correlated grid, tokens; the papers' largest query grid has 50
NORMS = 4  # groups of channels of a group norm
EPS = 1e-5  # of a group norm, as in torch
_NORM = 1e-12


def level_groups(channels: Sequence[int]) -> list[int]:
    """The number of levels in each group, from shallow to deep.

    Levels of equal width in a row are a group, as the blocks of a ResNet's layer. If all levels
    have one width, as a ViT's, they are divided into three groups of nearly equal size.

    Args:
        channels: Channels of each level.
    """
    groups = [len(list(alike)) for _, alike in groupby(channels)]
    if len(groups) > 1:
        return groups
    count = min(GROUPS, len(channels))
    size, larger = divmod(len(channels), count)
    return [size + (index < larger) for index in range(count)]


class Correlations(NamedTuple):
    """The correlations of K pairs of every episode, one pair a row.

    Attributes:
        groups: (B * K, h, w, n, m, L) float in [0, 1] of every group, from shallow to deep.
        query_valid: (B * K, h, w) bool, False on padding.
        support_valid: (B * K, n, m) bool, False on padding.
        support_mask: (B * K, n, m) float in [0, 1], foreground part of a token.
        scale: The query's resampling to the correlated grid; None: the grid is the token grid.
    """

    groups: list[Tensor]
    query_valid: Tensor
    support_valid: Tensor
    support_mask: Tensor
    scale: MaskedScale | None


def correlations(batch: EpisodeBatch, channels: Sequence[int], mask_support: bool) -> Correlations:
    """The cosine of every query token to every support token, negative ones cut to 0, by level.

    Grids of more than `LARGEST_SIDE` tokens are averaged over squares of tokens first. The side of
    the target's square decides, which is the same for every batch of an experiment.

    Args:
        batch: The episodes.
        channels: Channels of each level of the mid feature.
        mask_support: Whether support features are multiplied by the mask.
    """
    shots = batch.support_mask.shape[1]
    mask, labelled = batch.support_mask.flatten(0, 1), batch.support_valid.flatten(0, 1)
    query_valid, support_valid = batch.query_valid, _rectangle(labelled)
    query = batch.query_mid * query_valid[:, None]
    support = batch.support_mid.flatten(0, 1) * labelled[:, None]
    side = batch.side or max(query_valid.shape[-2:])
    scale = None
    if side > LARGEST_SIDE:
        factor = 1 / ceil(side / LARGEST_SIDE)
        scale, other = _scale(query_valid, factor), _scale(support_valid, factor)
        query = scale.pool(query.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        support = other.pool(support.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        mask = other.pool(mask[..., None])[..., 0]
        query_valid, support_valid = scale.inside[..., 0], other.inside[..., 0]
    if mask_support:
        support = support * mask[:, None]
    parts = query.split(list(channels), 1), support.split(list(channels), 1)
    levels = [_cosines(one, other, shots) for one, other in zip(*parts, strict=True)]
    groups = []
    for size in level_groups(channels):
        groups.append(torch.stack(levels[:size], -1))
        levels = levels[size:]
    query_valid = query_valid.repeat_interleave(shots, 0)
    return Correlations(groups, query_valid, support_valid, mask, scale)


def _rectangle(valid: Tensor) -> Tensor:
    """The rectangle at the top left that holds every valid token, (B, h, w) bool."""
    rows, columns = valid_extent(valid)
    row = torch.arange(valid.shape[1], device=valid.device) < rows[:, None]
    column = torch.arange(valid.shape[2], device=valid.device) < columns[:, None]
    return row[:, :, None] & column[:, None]


def _scale(valid: Tensor, factor: float) -> MaskedScale:
    rows, columns = valid_extent(valid)
    return MaskedScale(rows, columns, (valid.shape[1], valid.shape[2]), factor)


def _cosines(query: Tensor, support: Tensor, shots: int) -> Tensor:
    """The cosines of one level, (B * K, h, w, n, m).

    Args:
        query: (B, C, h, w).
        support: (B * K, C, n, m).
        shots: K.
    """
    rows = F.normalize(query.flatten(2).transpose(1, 2), dim=2, eps=_NORM)
    columns = F.normalize(support.flatten(2).transpose(1, 2), dim=2, eps=_NORM)
    pairs = [linear(rows[index // shots], one) for index, one in enumerate(columns)]
    return torch.stack(pairs).relu().view(-1, *query.shape[2:], *support.shape[2:])


def pair_mask(query_valid: Tensor, support_valid: Tensor) -> Tensor:
    """The pairs of two valid tokens, (B, h, w, n, m, 1) bool.

    Args:
        query_valid: (B, h, w) bool.
        support_valid: (B, n, m) bool.
    """
    return (query_valid[:, :, :, None, None] & support_valid[:, None, None])[..., None]


def support_mean(grid: Tensor, valid: Tensor) -> Tensor:
    """The mean over the valid support positions, (B, h, w, C).

    Args:
        grid: (B, h, w, n, m, C).
        valid: (B, n, m) bool.
    """
    weight = valid.flatten(1).to(grid.dtype)
    weight = weight / weight.sum(1, keepdim=True)
    return (grid.flatten(3, 4) * weight[:, None, None, :, None]).sum(3)


class MaskedGroupNorm(nn.Module):
    """Group norm whose statistics are those of the valid positions.

    Args:
        channels: C, a multiple of 4.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, grid: Tensor, inside: Tensor) -> Tensor:
        """The normalised grid, (B, ..., C); positions outside have no meaning.

        Args:
            grid: (B, ..., C).
            inside: (B, ..., 1) bool.
        """
        values = (grid * inside).flatten(1, -2)
        count = inside.flatten(1).sum(1)[:, None] * (values.shape[2] // NORMS)
        total = values.sum(1, dtype=torch.float32).unflatten(1, (NORMS, -1)).sum(2)
        square = torch.linalg.vector_norm(values, dim=1, dtype=torch.float32).square()
        mean = total / count
        variance = square.unflatten(1, (NORMS, -1)).sum(2) / count - mean.square()
        scale = (variance.clamp(min=0) + EPS).rsqrt()
        factor = self.weight * scale.repeat_interleave(len(self.weight) // NORMS, 1)
        shift = self.bias - factor * mean.repeat_interleave(len(self.weight) // NORMS, 1)
        factor, shift = factor[:, None].to(values.dtype), shift[:, None].to(values.dtype)
        return torch.addcmul(shift, values, factor).view_as(grid)
