"""What the support's mask says about the query without learning: global vector and prior mask.

Shapes: B batch, K shots, C channels, h w feature grid, N = h * w.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from umtfss.common.onednn import linear

_AREA = 0.0005  # in the denominator of masked average pooling, as in PFENet (arXiv 2008.01449)
_RANGE = 1e-7  # in the denominator of the min-max normalisation, likewise
_NORM = 1e-12


def masked_average(features: Tensor, weight: Tensor) -> Tensor:
    """(B, C) mean of the features over the grid, weighted by the mask; 0 for an empty mask.

    Args:
        features: (B, N, C).
        weight: (B, N) float, part of each token that is foreground.
    """
    total = torch.bmm(weight[:, None], features)[:, 0]
    return total / (weight.sum(1, keepdim=True) + _AREA)


@torch.no_grad()
def prior_mask(
    query: Tensor,
    query_valid: Tensor,
    support: Tensor,
    foreground: Tensor,
    padding_is_seen: bool = False,
) -> Tensor:
    """(B, h, w) float in [0, 1]: how much each query token looks like the support's foreground.

    The maximum over support-foreground tokens of the cosine of high features, min-max normalised
    over the query's valid tokens, then averaged over the shots (arXiv 2008.01449, section 3.2).
    A shot without a foreground token counts as zeros; so does padding.

    Args:
        query: (B, C, h, w).
        query_valid: (B, h, w) bool.
        support: (B, K, C, h, w).
        foreground: (B, K, h, w) bool, valid foreground tokens.
        padding_is_seen: As in the releases: padding has a prior and is in the range of the
            normalisation, and the support's other tokens count as zero vectors, so that no
            maximum is below 0.
    """
    shots = support.shape[1]
    valid = query_valid.flatten(1)
    if padding_is_seen:
        valid = torch.ones_like(valid)
    query_tokens = query.flatten(2).transpose(1, 2)
    query_norm = torch.linalg.vector_norm(query_tokens, dim=2).clamp(min=_NORM)
    prior = torch.zeros_like(query_norm)
    for shot in range(shots):
        # Most tokens are background: only the foreground ones are gathered, and a sample with
        # fewer of them than the largest repeats its first, which leaves the maximum alone.
        member = foreground[:, shot].flatten(1)
        count = member.sum(1, keepdim=True)
        largest = int(count.max())
        if largest == 0:
            continue
        index = (~member).to(torch.uint8).argsort(dim=1, stable=True)[:, :largest]
        rank = torch.arange(largest, device=index.device)
        index = torch.where(rank < count, index, index[:, :1])
        tokens = support[:, shot].flatten(2).transpose(1, 2)
        cosine = torch.stack(list(map(_largest_cosine, query_tokens, tokens, index))) / query_norm
        if padding_is_seen:
            cosine = torch.where(count < member.shape[1], cosine.clamp(min=0), cosine)
        low = cosine.masked_fill(~valid, torch.inf).amin(1, keepdim=True)
        high = cosine.masked_fill(~valid, -torch.inf).amax(1, keepdim=True)
        normalised = (cosine - low) / (high - low + _RANGE)
        prior += torch.where(valid & (count > 0), normalised, 0)
    return (prior / shots).view(query_valid.shape)


def _largest_cosine(query: Tensor, support: Tensor, index: Tensor) -> Tensor:
    """(N,) largest cosine of each query token to the chosen support tokens, times its norm.

    Args:
        query: (N, C).
        support: (N, C).
        index: (n,) int64, the support tokens chosen.
    """
    return linear(query, F.normalize(support[index], dim=1, eps=_NORM)).amax(1)
