"""How tokens learn of the support's mask: merged with the global vector and the prior mask.

A 1x1 convolution of concatenated features is written as the sum of one product for each part:
the global vector is the same at every token.

Shapes: B batch, K shots, h w feature grid, N = h * w, d model width.
"""

import torch
from torch import Tensor, nn

from umtfss.episodes.batch import EpisodeBatch
from umtfss.linear import linear
from umtfss.models.layers.prior_mask import masked_average, prior_mask


def support_vector(support: Tensor, batch: EpisodeBatch) -> Tensor:
    """(B, d) masked average of the support's tokens, mean over the shots.

    Args:
        support: (B * K, N, d).
        batch: The episodes that the tokens are of.
    """
    mask = (batch.support_mask * batch.support_valid).flatten(0, 1).flatten(1)
    average = masked_average(support, mask.to(support.dtype))
    return average.unflatten(0, (-1, batch.support_mask.shape[1])).mean(1)


def support_guidance(support: Tensor, batch: EpisodeBatch) -> tuple[Tensor, Tensor]:
    """(B, d) global support vector, and (B, h, w) prior mask.

    Args:
        support: (B * K, N, d).
        batch: The episodes that the tokens are of.
    """
    prior = prior_mask(
        batch.query_high,
        batch.query_valid,
        batch.support_high,
        batch.support_valid & (batch.support_mask > 0.5),
    )
    return support_vector(support, batch), prior


def guided_query(query: Tensor, vector: Tensor, prior: Tensor, merge: nn.Linear) -> Tensor:
    """(B, N, d) the ReLU of the linear map of the concatenated query, global vector and prior.

    Args:
        query: (B, N, d).
        vector: (B, d).
        prior: (B, h, w) with h * w = N.
        merge: From 2 d + 1 channels.
    """
    weight, bias, width = merge.weight, merge.bias, query.shape[2]
    query = linear(query, weight[:, :width])
    query = query + linear(vector, weight[:, width:-1], bias)[:, None]
    return torch.addcmul(query, prior.flatten(1)[..., None].to(query.dtype), weight[:, -1]).relu()


def guided_support(support: Tensor, vector: Tensor, merge: nn.Linear) -> Tensor:
    """(B * K, N, d) the ReLU of the linear map of the concatenated support and global vector.

    Args:
        support: (B * K, N, d).
        vector: (B, d).
        merge: From 2 d channels.
    """
    weight, bias, width = merge.weight, merge.bias, support.shape[2]
    shared = linear(vector, weight[:, width:], bias)
    shared = shared.repeat_interleave(len(support) // len(vector), 0)
    return (linear(support, weight[:, :width]) + shared[:, None]).relu()
