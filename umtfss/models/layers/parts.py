"""Parts of a class: k-means of its tokens (PPNet, arXiv:2007.06309).

Shapes: N tokens, d channels, P parts.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

ROUNDS = 10


def parts(tokens: Tensor, count: int) -> Tensor:
    """The means of at most `count` groups of tokens, (P, d); gradients pass through the means.

    The first centre is the token nearest to the mean, and each further centre is the token farthest
    from all centres so far, so nothing is random. Groups without tokens are left out, so P may be
    smaller than `count`, and is 0 without tokens.

    Args:
        tokens: (N, d).
        count: Number of groups.
    """
    if not len(tokens):
        return tokens
    with torch.no_grad():
        fixed = tokens.detach()
        group = _groups(fixed, _farthest(fixed, count))
        for _ in range(ROUNDS):
            group = _groups(fixed, _means(fixed, group))
    return _means(tokens, group)


def _farthest(tokens: Tensor, count: int) -> Tensor:
    """The first centres, (at most `count`, d)."""
    distance = torch.cdist(tokens, tokens.mean(0, keepdim=True))[:, 0]
    chosen = [int(distance.argmin())]
    distance = torch.cdist(tokens, tokens[chosen[-1:]])[:, 0]
    while len(chosen) < min(count, len(tokens)):
        chosen.append(int(distance.argmax()))
        distance = distance.minimum(torch.cdist(tokens, tokens[chosen[-1:]])[:, 0])
    return tokens[chosen]


def _groups(tokens: Tensor, centres: Tensor) -> Tensor:
    """The nearest centre of every token, one-hot, (N, P)."""
    nearest = torch.cdist(tokens, centres).argmin(1)
    return F.one_hot(nearest, len(centres)).to(tokens.dtype)


def _means(tokens: Tensor, group: Tensor) -> Tensor:
    """The means of the groups that have tokens, (P, d)."""
    size = group.sum(0)
    return (group.T @ tokens)[size > 0] / size[size > 0, None]
