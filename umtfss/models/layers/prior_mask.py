"""Guidance of the query without learning: masked average and prior mask (arXiv:2008.01449).

Shapes: B batch, K shots, C channels, h w feature grid, N = h * w.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from umtfss.common.onednn import linear

_AREA = 0.0005  # added to the denominator of masked average pooling, as in PFENet
_RANGE = 1e-7  # added to the denominator of the min-max normalisation, as in PFENet
_NORM = 1e-12


def masked_average(features: Tensor, weight: Tensor) -> Tensor:
    """The mean of the features weighted by the mask, (B, C); 0 for an empty mask.

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
    """The similarity of each query token to the support's foreground, (B, h, w) float in [0, 1].

    For each shot, the cosines of high features are maximised over the support's foreground tokens
    and min-max normalised over the query's valid tokens. The result is averaged over the shots
    (arXiv:2008.01449, section 3.2). A shot without foreground tokens gives 0, and so does padding.

    Args:
        query: (B, C, h, w).
        query_valid: (B, h, w) bool.
        support: (B, K, C, h, w).
        foreground: (B, K, h, w) bool, valid foreground tokens.
        padding_is_seen: Whether to compute as the releases do: padding has a prior and takes part
            in the normalisation, and the support's other tokens count as zero vectors, so no
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
        tokens = support[:, shot].flatten(2).transpose(1, 2)
        member = foreground[:, shot].flatten(1)
        count = member.sum(1, keepdim=True)
        is_fixed = query.is_cuda or torch.compiler.is_compiling()  # no number of tokens is known
        best = _largest_of_all if is_fixed else _largest_of_foreground
        cosine = best(query_tokens, tokens, member) / query_norm
        if padding_is_seen:
            cosine = torch.where(count < member.shape[1], cosine.clamp(min=0), cosine)
        low = cosine.masked_fill(~valid, torch.inf).amin(1, keepdim=True)
        high = cosine.masked_fill(~valid, -torch.inf).amax(1, keepdim=True)
        normalised = (cosine - low) / (high - low + _RANGE)
        prior += torch.where(valid & (count > 0), normalised, 0)
    return (prior / shots).view(query_valid.shape)


def _largest_of_all(query: Tensor, support: Tensor, member: Tensor) -> Tensor:
    """The result of `_largest_of_foreground` from the products with all tokens.

    Most products are not needed, but the device waits for no number of tokens.
    """
    product = torch.bmm(query, F.normalize(support, dim=2, eps=_NORM).transpose(1, 2))
    return product.masked_fill_(~member[:, None], -torch.inf).amax(2)


def _largest_of_foreground(query: Tensor, support: Tensor, member: Tensor) -> Tensor:
    """The largest cosine of each query token to foreground tokens, times its norm, (B, N).

    Only the foreground tokens are gathered, as most tokens are background. A sample with fewer
    foreground tokens than the largest repeats its first, so its maximum is the same.

    Args:
        query: (B, N, C).
        support: (B, N, C).
        member: (B, N) bool; the result of a sample without a foreground token has no meaning.
    """
    count = member.sum(1, keepdim=True)
    index = (~member).to(torch.uint8).argsort(dim=1, stable=True)[:, : max(1, int(count.max()))]
    rank = torch.arange(index.shape[1], device=index.device)
    index = torch.where(rank < count, index, index[:, :1])
    return torch.stack(list(map(_largest_cosine, query, support, index)))


def _largest_cosine(query: Tensor, support: Tensor, index: Tensor) -> Tensor:
    """The largest cosine of each query token to chosen support tokens, times its norm, (N,).

    Args:
        query: (N, C).
        support: (N, C).
        index: (n,) int64, rows of the chosen support tokens.
    """
    return linear(query, F.normalize(support[index], dim=1, eps=_NORM)).amax(1)
