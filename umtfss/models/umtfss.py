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
from umtfss.models.base import MetaLearner
from umtfss.models.layers.attention import CrossAttention
from umtfss.models.layers.blocks import (
    classifier,
    projection,
    self_attention_block,
    to_tokens,
    transformer_block,
)
from umtfss.models.layers.guidance import guided_query, guided_support, support_guidance
from umtfss.models.layers.position_encoding import repeat_edge, sine_position_encoding
from umtfss.models.layers.prototype_attention import (
    prototypes,
    sampled_tokens,
    split_support,
    token_priority,
)
from umtfss.models.layers.residual import MatcherResidual


class UMTFSS(MetaLearner):
    """Prototype-aware transformer on frozen features.

    Both branches are projected and enriched with the global support vector (the query with the
    prior mask, too). All self-attention layers of a branch come first; then the support's tokens
    are grouped into prototypes once, and all cross-attention layers gather them into the query.
    K supports are K images for self-attention and one set of tokens for the prototypes, so that
    weights trained on one shot serve any K.

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
        self.query_mid = projection(mid_channels, width, settings.mid_dropout)
        self.support_mid = projection(mid_channels, width, settings.mid_dropout)
        self.query_merge = nn.Linear(2 * width + 1, width)
        self.support_merge = nn.Linear(2 * width, width)
        support_layers = settings.layers if settings.support_self_attention == "live" else 0
        self.query_self = nn.ModuleList(
            self_attention_block(settings) for _ in range(settings.layers)
        )
        self.support_self = nn.ModuleList(
            self_attention_block(settings) for _ in range(support_layers)
        )
        self.cross = nn.ModuleList(
            transformer_block(CrossAttention(width, settings.heads), settings)
            for _ in range(settings.layers)
        )
        self.head = classifier(width, settings.head_dropout)
        self.residual = MatcherResidual(settings)

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
        logits = self.residual(self.head(grid.permute(0, 3, 1, 2)), batch)
        return repeat_edge(logits, valid, batch.side)

    def transformer_parameters(self) -> Iterator[nn.Parameter]:
        """The parameters of all attention, feed-forward and norm layers."""
        return chain(
            self.query_self.parameters(), self.support_self.parameters(), self.cross.parameters()
        )

    def _merge(self, batch: EpisodeBatch) -> tuple[Tensor, Tensor]:
        """(B, N, d) query and (B * K, N, d) support tokens that know the support's mask."""
        query = to_tokens(self.query_mid(batch.query_mid))
        support = to_tokens(self.support_mid(batch.support_mid.flatten(0, 1)))
        vector, prior = support_guidance(support, batch)
        query = guided_query(query, vector, prior, self.query_merge)
        return query, guided_support(support, vector, self.support_merge)

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
