"""The support tokens that the query attends to: prototypes (Eq. 5), sampled tokens or all tokens.

Shapes: B batch, K shots, h w feature grid, N = K * h * w support tokens, d model width,
G = K_fg + K_bg groups.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from umtfss.data.images import IGNORE
from umtfss.episodes.batch import EpisodeBatch
from umtfss.experiment.model import ModelConfig
from umtfss.models.layers.guidance import token_labels
from umtfss.models.layers.hamming_kmeans import hamming_kmeans, hash_codes, hash_planes, keyed_hash
from umtfss.models.layers.position_encoding import valid_extent

FOREGROUND, BACKGROUND = 0, 1
_PRIORITY_STREAM = 2


def foreground_tokens(batch: EpisodeBatch, settings: ModelConfig) -> tuple[Tensor, Tensor]:
    """The support tokens of the object, and the valid support tokens, (B, K, h, w) bool each.

    Args:
        batch: The episodes.
        settings: The model block, for `token_masks`. A token is of the object if more than half of
            its area is, or if the pixel at its top left corner is.
    """
    if settings.token_masks == "sampled":
        label = token_labels(batch)[:, :, 1]
        return label == 1, label != IGNORE
    return batch.support_mask > 0.5, batch.support_valid


def split_support(
    foreground: Tensor, valid: Tensor, padding_is_seen: bool = False
) -> tuple[Tensor, Tensor]:
    """The foreground and the background support tokens, (B, K, h, w) bool each.

    In a shot without foreground tokens, the central 2x2 tokens become foreground. After that, in a
    shot without background tokens, the four corners become background. A token that is not valid
    is in neither set.

    Args:
        foreground: (B, K, h, w) bool, tokens of the object.
        valid: (B, K, h, w) bool.
        padding_is_seen: Whether centre and corners refer to the whole grid, as in the releases, and
            not to the valid area.
    """
    height, width = valid.shape[-2:]
    if padding_is_seen:
        rows = columns = valid.new_zeros(valid.shape[:2], dtype=torch.long)
        rows, columns = rows + height, columns + width
    else:
        rows, columns = valid_extent(valid)
    rows, columns = rows[..., None], columns[..., None]
    row = torch.arange(height, device=valid.device)
    column = torch.arange(width, device=valid.device)
    central_row = (row >= rows // 2 - 1) & (row <= rows // 2)
    central_column = (column >= columns // 2 - 1) & (column <= columns // 2)
    corner_row = (row == 0) | (row == rows - 1)
    corner_column = (column == 0) | (column == columns - 1)

    inside = torch.ones_like(valid) if padding_is_seen else valid
    foreground = inside & foreground
    absent = ~foreground.flatten(2).any(2)[..., None, None]
    foreground = foreground | (absent & central_row[..., None] & central_column[..., None, :])
    absent = ~(inside & ~foreground).flatten(2).any(2)[..., None, None]
    corners = absent & corner_row[..., None] & corner_column[..., None, :]
    foreground = foreground & ~corners
    if padding_is_seen:
        return foreground, ~foreground
    return foreground, (valid & ~foreground) | corners


def set_numbers(foreground: Tensor, background: Tensor) -> Tensor:
    """The set of each token of all shots, (B, N) int64: 0 foreground, 1 background, -1 neither.

    Args:
        foreground: (B, K, h, w) bool.
        background: (B, K, h, w) bool.
    """
    sets = foreground.long() * FOREGROUND + background.long() * BACKGROUND
    return torch.where(foreground | background, sets, -1).flatten(1)


def token_priority(key: Tensor, shape: Sequence[int]) -> Tensor:
    """A random order of the support tokens, independent of the padding, (B, N) int64.

    Args:
        key: (B,) int64.
        shape: (K, h, w).
    """
    shot, row, column = (torch.arange(n, device=key.device) for n in shape)
    place = (shot[:, None, None] << 40) + (row[:, None] << 20) + column
    return keyed_hash(key, _PRIORITY_STREAM, place.flatten())


def prototypes(
    tokens: Tensor,
    sets: Tensor,
    key: Tensor,
    priority: Tensor,
    groups: tuple[int, int],
    *,
    bits: int,
    iterations: int,
    pool: str = "mean",
    mask_empty: bool = True,
) -> tuple[Tensor, Tensor]:
    """Prototypes, foreground first, (B, G, d), and a mask of those to attend to, (B, G) bool.

    Tokens are hashed and grouped by k-means in Hamming space, separately for each set; the
    assignment has no gradient. Tokens are then pooled within each group, with gradient.

    Args:
        tokens: (B, N, d).
        sets: (B, N) int64 from `set_numbers`.
        key: (B,) int64, keys the hash planes.
        priority: (B, N) int64 from `token_priority`.
        groups: (K_fg, K_bg).
        bits: Bits of the hash.
        iterations: Iterations of k-means.
        pool: "mean": the L2-normalised mean; "sum": the sum of Eq. 5 without normalisation (the
            normalised sum would equal the normalised mean).
        mask_empty: Whether groups that lost all their tokens are masked. Slots beyond the number of
            tokens of a set are always masked.
    """
    codes = hash_codes(tokens, sets, *hash_planes(key, tokens.shape[2], bits, len(groups)))
    group = hamming_kmeans(codes, sets, groups, priority, iterations)
    batch, total = len(tokens), sum(groups)
    # One more row takes the tokens of neither set.
    row = (group + torch.arange(batch, device=key.device)[:, None] * (total + 1)).flatten()
    values = tokens.flatten(0, 1).float()
    sums = values.new_zeros(batch * (total + 1), values.shape[1]).index_add(0, row, values)
    sums = sums.view(batch, total + 1, -1)[:, :total]
    if mask_empty:
        shown = torch.zeros(batch, total + 1, dtype=torch.bool, device=key.device)
        shown = shown.scatter(1, group, True)[:, :total]
    else:
        shown = torch.cat(
            [
                torch.arange(count, device=key.device) < (sets == which).sum(1, keepdim=True)
                for which, count in zip((FOREGROUND, BACKGROUND), groups, strict=True)
            ],
            1,
        )
    return (F.normalize(sums, dim=2) if pool == "mean" else sums), shown


@dataclass(frozen=True)
class TokenSample:
    """Support tokens drawn for attention, foreground first.

    Attributes:
        index: (B, M) int64, rows in the list of all tokens.
        there: (B, M) bool, False in the slots that an episode with fewer tokens does not fill.
        foreground: (B, M) bool.
    """

    index: Tensor
    there: Tensor
    foreground: Tensor

    def of(self, values: Tensor) -> Tensor:
        """The values of the sampled tokens, (B, M, ...), from `values` (B, N, ...)."""
        index = self.index.view(*self.index.shape, *(1,) * (values.ndim - 2))
        return values.gather(1, index.expand(-1, -1, *values.shape[2:]))


@torch.no_grad()
def sample_tokens(sets: Tensor, priority: Tensor, counts: tuple[Tensor, Tensor]) -> TokenSample:
    """Sample the first tokens in the order of priority: F of the foreground, G of the background.

    If a set has too few tokens, the other set fills up, as in the released code of CyCTR
    (arXiv:2106.02320). With f < F foreground tokens, all f are taken, and F + G - f background
    tokens. Otherwise, with g < G background tokens, all g are taken, and F + G - g foreground
    tokens.

    Args:
        sets: (B, N) int64, from `set_numbers`.
        priority: (B, N) int64, from `token_priority`.
        counts: F and G, (B,) int64 each.
    """
    wanted_fg, wanted_bg = counts
    total = wanted_fg + wanted_bg
    member = torch.stack([sets == FOREGROUND, sets == BACKGROUND], 1)
    has_fg, has_bg = member.sum(2).unbind(1)
    few_fg, few_bg = has_fg < wanted_fg, has_bg < wanted_bg
    take_fg = torch.where(few_fg, has_fg, torch.where(few_bg, total - has_bg, wanted_fg))
    take_fg = take_fg.minimum(has_fg)
    take_bg = torch.where(few_fg, total - has_fg, wanted_bg).minimum(has_bg)
    most = int((take_fg + take_bg).max())

    last = torch.iinfo(torch.int64).max
    order = priority[:, None].masked_fill(~member, last).argsort(dim=2, stable=True)
    place = torch.arange(most, device=sets.device).expand(len(sets), -1)
    foreground = place < take_fg[:, None]
    rank = torch.where(foreground, place, place - take_fg[:, None]).clamp(max=sets.shape[1] - 1)
    index = torch.where(foreground, order[:, 0].gather(1, rank), order[:, 1].gather(1, rank))
    return TokenSample(index, place < (take_fg + take_bg)[:, None], foreground)
