"""UMTFSS: the paper's few-shot segmenter (section "Meta-training FSS from Noisy Meta Tasks").

Shapes: B batch, K shots, C channels of the mid feature, D of the high feature, d model width,
h w feature grid, N = h * w.
"""

from collections.abc import Iterator
from itertools import chain

import torch
from torch import Tensor, nn

from umtfss.config import ModelConfig
from umtfss.episodes.batch import EpisodeBatch
from umtfss.linear import Pointwise, linear
from umtfss.models.base import MetaLearner
from umtfss.models.layers.attention import CrossAttention, SelfAttention, TransformerBlock
from umtfss.models.layers.deformable_attention import DeformableAttention
from umtfss.models.layers.position_encoding import repeat_edge, sine_position_encoding
from umtfss.models.layers.prior_mask import masked_average, prior_mask
from umtfss.models.layers.prototype_attention import (
    prototypes,
    sampled_tokens,
    split_support,
    token_priority,
)
from umtfss.models.prototype import PrototypeMatcher

MATCHER_SCALE = 10.0  # the cosines of true and false tokens differ by about a tenth


class UMTFSS(MetaLearner):
    """Prototype-aware transformer on frozen features.

    Both branches are projected and enriched with the global support vector (the query with the
    prior mask, too). All self-attention layers of a branch come first; then the support's tokens
    are grouped into prototypes once, and all cross-attention layers gather them into the query.
    K supports are K images for self-attention and one set of tokens for the prototypes, so that
    weights trained on one shot serve any K.

    With `residual: prototype` the score of the training-free matcher, times a learned scale, is
    added to the logits, so that training starts at the floor and learns to correct it. It is not
    in the paper; a few hundred steps do not reach the floor without it.

    With `support_self_attention: dead` the support has no self-attention layers: the released
    code computes them, throws the result away and never trains them.

    Args:
        settings: The model block of an experiment.
        mid_channels: C.
    """

    def __init__(self, settings: ModelConfig, mid_channels: int) -> None:
        super().__init__()
        self.settings = settings
        self.ignore_in_loss = settings.ignore_in_loss
        width = settings.width
        self.query_mid = _projection(mid_channels, width, settings.mid_dropout)
        self.support_mid = _projection(mid_channels, width, settings.mid_dropout)
        self.query_merge = nn.Linear(2 * width + 1, width)
        self.support_merge = nn.Linear(2 * width, width)
        support_layers = settings.layers if settings.support_self_attention == "live" else 0
        self.query_self = nn.ModuleList(_self_block(settings) for _ in range(settings.layers))
        self.support_self = nn.ModuleList(_self_block(settings) for _ in range(support_layers))
        self.cross = nn.ModuleList(
            _block(CrossAttention(width, settings.heads), settings) for _ in range(settings.layers)
        )
        self.head = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Dropout2d(settings.head_dropout),
            Pointwise(width, 2),
        )
        if settings.residual == "prototype":
            self.matcher = PrototypeMatcher()
            self.matcher_scale = nn.Parameter(torch.tensor(MATCHER_SCALE))

    def forward(self, batch: EpisodeBatch) -> Tensor:
        """(B, 2, h, w) logits, background then foreground; padding repeats the nearest one."""
        valid = batch.query_valid
        support_valid = batch.support_valid.flatten(0, 1)
        query, support = self._merge(batch)
        if len(self.support_self):
            position = sine_position_encoding(support_valid, query.shape[2]).flatten(1, 2)
            for block in self.support_self:
                support = block(support, position, support_valid)
        position = sine_position_encoding(valid, query.shape[2]).flatten(1, 2)
        for block in self.query_self:
            query = block(query, position, valid)
        context, keep = self._context(batch, support.view(len(batch), -1, query.shape[2]))
        for block in self.cross:
            query = block(query, context, keep)
        grid = query.view(*valid.shape, -1) * valid[..., None]  # zeros, like a conv's own padding
        logits = self.head(grid.permute(0, 3, 1, 2))
        if self.settings.residual == "prototype":
            background, foreground = self.matcher(batch).unbind(1)
            score = self.matcher_scale * (foreground - background)
            logits = logits + torch.stack([-score, score], 1)
        return repeat_edge(logits, valid)

    def transformer_parameters(self) -> Iterator[nn.Parameter]:
        """The parameters of all attention, feed-forward and norm layers."""
        return chain(
            self.query_self.parameters(), self.support_self.parameters(), self.cross.parameters()
        )

    def _merge(self, batch: EpisodeBatch) -> tuple[Tensor, Tensor]:
        """(B, N, d) query and (B * K, N, d) support tokens that know the support's mask.

        A 1x1 convolution of concatenated features, written as the sum of one product for each
        part: the global vector is the same at every token.
        """
        shots, width = batch.support_mask.shape[1], self.settings.width
        mask = (batch.support_mask * batch.support_valid).flatten(0, 1).flatten(1)
        query = _tokens(self.query_mid(batch.query_mid))
        support = _tokens(self.support_mid(batch.support_mid.flatten(0, 1)))
        average = masked_average(support, mask.to(support.dtype))
        average = average.unflatten(0, (-1, shots)).mean(1)
        prior = prior_mask(
            batch.query_high,
            batch.query_valid,
            batch.support_high,
            batch.support_valid & (batch.support_mask > 0.5),
        )
        weight, bias = self.query_merge.weight, self.query_merge.bias
        query = linear(query, weight[:, :width])
        query = query + linear(average, weight[:, width:-1], bias)[:, None]
        query = torch.addcmul(query, prior.flatten(1)[..., None].to(query.dtype), weight[:, -1])
        weight, bias = self.support_merge.weight, self.support_merge.bias
        shared = linear(average, weight[:, width:], bias).repeat_interleave(shots, 0)
        return query, linear(support, weight[:, :width]) + shared[:, None]

    def _context(self, batch: EpisodeBatch, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """(B, M, d) what cross-attention sees of the support, and (B, M) bool which of it.

        Vanilla attention knows the mask through the global vector alone, as Eq. 1 has it.
        """
        settings = self.settings
        if settings.cross_attention == "vanilla" and settings.vanilla_tokens == 0:
            return tokens, batch.support_valid.flatten(1)
        sets = split_support(batch.support_mask, batch.support_valid)
        priority = token_priority(batch.key, batch.support_mask.shape[1:])
        if settings.cross_attention == "vanilla":
            return sampled_tokens(tokens, sets, priority, settings.vanilla_tokens)
        pooled, used = prototypes(
            tokens,
            sets,
            batch.key,
            priority,
            (settings.k_fg, settings.k_bg),
            settings.hash_bits,
            settings.hamming_iterations,
            settings.prototype_pool,
        )
        return pooled, used if settings.mask_empty_groups else torch.ones_like(used)


def _projection(channels: int, width: int, dropout: float) -> nn.Sequential:
    """A 1x1 convolution to the model's width, ReLU, and dropout of whole channels."""
    return nn.Sequential(Pointwise(channels, width), nn.ReLU(inplace=True), nn.Dropout2d(dropout))


def _block(attention: nn.Module, settings: ModelConfig) -> TransformerBlock:
    return TransformerBlock(attention, settings.width, settings.ffn_ratio, settings.dropout)


def _self_block(settings: ModelConfig) -> TransformerBlock:
    if settings.self_attention == "vanilla":
        return _block(SelfAttention(settings.width, settings.heads), settings)
    attention = DeformableAttention(settings.width, settings.heads, settings.deformable_points)
    return _block(attention, settings)


def _tokens(features: Tensor) -> Tensor:
    """(B, h * w, d) tokens of a (B, d, h, w) map; free of copies where the map is channels-last."""
    return features.permute(0, 2, 3, 1).flatten(1, 2)
