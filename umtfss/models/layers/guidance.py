"""Guidance of tokens by the supports' masks: a merge with the support's vector and the prior mask.

A 1x1 convolution of concatenated features is computed as a sum of products, one for each part. So
the product of a vector, the same at every token, is computed once.

Shapes: B batch, K shots, h w feature grid, N = h * w, d model width.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from umtfss.common.onednn import linear
from umtfss.episodes.batch import EpisodeBatch
from umtfss.experiment.model import ModelConfig
from umtfss.models.layers.blocks import projection, to_tokens
from umtfss.models.layers.prior_mask import masked_average, prior_mask


class Guidance(NamedTuple):
    """The vectors and the prior mask from the supports' masks.

    Attributes:
        own: (B, K, d) vector of each shot, the masked average of its tokens.
        mean: (B, d) global vector, the mean over the shots.
        prior: (B, h, w) prior mask of the query, times `prior_scale`.
    """

    own: Tensor
    mean: Tensor
    prior: Tensor


def token_labels(batch: EpisodeBatch) -> Tensor:
    """The labels of two single pixels of each support token, (B, K, 2, h, w) uint8.

    Raises:
        ValueError: The batch has no labels of single pixels.
    """
    if batch.support_pixels is None:
        raise ValueError("token_masks: sampled reads batch.support_pixels, which is None")
    return batch.support_pixels


def pooling_mask(batch: EpisodeBatch, settings: ModelConfig) -> Tensor:
    """The weight of each support token in the object's vector, (B, K, h, w) float in [0, 1].

    Args:
        batch: The episodes.
        settings: The model block, for `token_masks`.
    """
    if settings.token_masks == "sampled":
        return (token_labels(batch)[:, :, 0] == 1).float()
    return batch.support_mask * batch.support_valid


def support_vectors(support: Tensor, weight: Tensor) -> Tensor:
    """The masked average of each shot's tokens, (B, K, d).

    Args:
        support: (B * K, N, d).
        weight: (B, K, h, w) from `pooling_mask`.
    """
    average = masked_average(support, weight.flatten(0, 1).flatten(1).to(support.dtype))
    return average.unflatten(0, weight.shape[:2])


def support_guidance(support: Tensor, batch: EpisodeBatch, settings: ModelConfig) -> Guidance:
    """The vectors of the supports and the prior mask of the query.

    Args:
        support: (B * K, N, d).
        batch: The episodes of the tokens.
        settings: The model block, for `token_masks`, `padding` and `prior_scale`.
    """
    weight = pooling_mask(batch, settings)
    foreground = weight > (0 if settings.token_masks == "sampled" else 0.5)
    prior = prior_mask(
        batch.query_high,
        batch.query_valid,
        batch.support_high,
        foreground,
        padding_is_seen=settings.padding == "seen",
    )
    own = support_vectors(support, weight)
    return Guidance(own, own.mean(1), settings.prior_scale * prior)


def guided_query(query: Tensor, vector: Tensor, prior: Tensor, merge: nn.Linear) -> Tensor:
    """The merged query, (B, N, d): ReLU of a linear map of query, global vector and prior mask.

    Args:
        query: (B, N, d).
        vector: (B, d).
        prior: (B, h, w) with h * w = N.
        merge: Linear map from 2 d + 1 to d channels, without bias.
    """
    weight, width = merge.weight, query.shape[2]
    query = linear(query, weight[:, :width])
    query = query + linear(vector, weight[:, width:-1])[:, None]
    return torch.addcmul(query, prior.flatten(1)[..., None].to(query.dtype), weight[:, -1]).relu()


def guided_support(support: Tensor, vectors: Tensor, merge: nn.Linear) -> Tensor:
    """The merged supports, (B * K, N, d): ReLU of a linear map of each shot's tokens and vector.

    Args:
        support: (B * K, N, d).
        vectors: (B, K, d), one vector for each shot.
        merge: Linear map from 2 d to d channels, without bias.
    """
    weight, width = merge.weight, support.shape[2]
    shared = linear(vectors.flatten(0, 1), weight[:, width:])
    return (linear(support, weight[:, :width]) + shared[:, None]).relu()


class Branches(NamedTuple):
    """The tokens of both branches.

    Attributes:
        query: (B, N, d), merged.
        support: (B * K, N, d), merged.
        query_projected: (B, N, d), before the merge.
        support_projected: (B * K, N, d), before the merge.
    """

    query: Tensor
    support: Tensor
    query_projected: Tensor
    support_projected: Tensor


class GuidedBranches(nn.Module):
    """Projects query and supports, and merges both with the guidance of the supports' masks.

    Args:
        settings: The model block of an experiment.
        mid_channels: Channels of each level of the mid feature; C is their sum.
    """

    def __init__(self, settings: ModelConfig, mid_channels: Sequence[int]) -> None:
        super().__init__()
        self.settings = settings
        width = settings.width
        self.query_mid = projection(sum(mid_channels), width, settings.mid_dropout)
        self.support_mid = projection(sum(mid_channels), width, settings.mid_dropout)
        self.query_merge = nn.Linear(2 * width + 1, width, bias=False)
        self.support_merge = nn.Linear(2 * width, width, bias=False)

    def forward(self, batch: EpisodeBatch) -> Branches:
        """The tokens of the episodes."""
        query = to_tokens(self.query_mid(batch.query_mid))
        support = to_tokens(self.support_mid(batch.support_mid.flatten(0, 1)))
        guidance = support_guidance(support, batch, self.settings)
        return Branches(
            guided_query(query, guidance.mean, guidance.prior, self.query_merge),
            guided_support(support, guidance.own, self.support_merge),
            query,
            support,
        )
