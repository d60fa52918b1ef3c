"""Which support tokens the query attends to: prototypes (Eq. 5), or tokens sampled or all.

Shapes: B batch, K shots, h w feature grid, N = K * h * w support tokens, d model width,
G = K_fg + K_bg groups.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from umtfss.clustering.hamming_kmeans import hamming_kmeans, hash_codes, keyed_hash
from umtfss.models.layers.position_encoding import valid_extent

FOREGROUND, BACKGROUND = 0, 1
_PRIORITY_STREAM = 2


def split_support(mask: Tensor, valid: Tensor) -> Tensor:
    """(B, N) int64 set of each support token: 0 foreground, 1 background, -1 neither.

    A valid token is foreground if more than half of it is. Without any foreground token the
    central 2x2 tokens of every shot become foreground; without any background token the four
    corners of every shot become background.

    Args:
        mask: (B, K, h, w) float in [0, 1], part of each token that is foreground.
        valid: (B, K, h, w) bool.
    """
    height, width = mask.shape[-2:]
    rows, columns = (extent[..., None] for extent in valid_extent(valid))
    row = torch.arange(height, device=mask.device)
    column = torch.arange(width, device=mask.device)
    central_row = (row >= rows // 2 - 1) & (row <= rows // 2)
    central_column = (column >= columns // 2 - 1) & (column <= columns // 2)
    corner_row = (row == 0) | (row == rows - 1)
    corner_column = (column == 0) | (column == columns - 1)

    foreground = valid & (mask > 0.5)
    background = valid & ~foreground
    absent = ~foreground.flatten(1).any(1).view(-1, 1, 1, 1)
    central = absent & central_row[..., None] & central_column[..., None, :]
    foreground, background = foreground | central, background & ~central
    absent = ~background.flatten(1).any(1).view(-1, 1, 1, 1)
    corners = absent & corner_row[..., None] & corner_column[..., None, :]
    foreground, background = foreground & ~corners, background | corners
    sets = foreground.long() * FOREGROUND + background.long() * BACKGROUND
    return torch.where(foreground | background, sets, -1).flatten(1)


def token_priority(key: Tensor, shape: Sequence[int]) -> Tensor:
    """(B, N) int64 random order of the support tokens, independent of the padding.

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
    bits: int,
    iterations: int,
    pool: str,
) -> tuple[Tensor, Tensor]:
    """(B, G, d) prototypes, foreground first, and (B, G) bool which of them have tokens.

    Foreground and background tokens are grouped separately by k-means on hash codes (without
    gradient) and pooled within each group (with gradient).

    Args:
        tokens: (B, N, d).
        sets: (B, N) int64 from `split_support`.
        key: (B,) int64, keys the hash planes.
        priority: (B, N) int64 from `token_priority`.
        groups: (K_fg, K_bg).
        bits: Bits of the hash.
        iterations: Iterations of k-means.
        pool: "mean": the mean, L2-normalised; "sum": the sum as in Eq. 5, not normalised (its
            direction is the mean's, so normalising it would give the same prototype).
    """
    codes = hash_codes(tokens, key, bits)
    group = hamming_kmeans(codes, sets, groups, priority, iterations)
    batch, total = len(tokens), sum(groups)
    # One more row takes the tokens of neither set.
    row = (group + torch.arange(batch, device=key.device)[:, None] * (total + 1)).flatten()
    values = tokens.flatten(0, 1).float()
    sums = values.new_zeros(batch * (total + 1), values.shape[1]).index_add(0, row, values)
    sums = sums.view(batch, total + 1, -1)[:, :total]
    used = torch.zeros(batch, total + 1, dtype=torch.bool, device=key.device)
    used = used.scatter(1, group, True)[:, :total]
    return (F.normalize(sums, dim=2) if pool == "mean" else sums), used


def sampled_tokens(
    tokens: Tensor, sets: Tensor, priority: Tensor, count: int
) -> tuple[Tensor, Tensor]:
    """(B, 2n, d) random foreground and background tokens, and (B, 2n) bool which are there.

    Args:
        tokens: (B, N, d).
        sets: (B, N) int64 from `split_support`.
        priority: (B, N) int64 from `token_priority`.
        count: n, tokens of each set; a set with fewer gives them all.
    """
    count = min(count, tokens.shape[1])
    last = torch.iinfo(torch.int64).max
    index = torch.cat(
        [
            priority.masked_fill(sets != which, last).argsort(dim=1)[:, :count]
            for which in (FOREGROUND, BACKGROUND)
        ],
        1,
    )
    wanted = torch.tensor([FOREGROUND, BACKGROUND], device=sets.device).repeat_interleave(count)
    chosen = tokens.gather(1, index[..., None].expand(-1, -1, tokens.shape[2]))
    return chosen, sets.gather(1, index) == wanted
