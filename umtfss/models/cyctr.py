"""CyCTR: cycle-consistent transformer (arXiv 2106.02320).

Shapes: B batch, K shots, C channels of the mid feature, d model width, h w feature grid,
N = h * w, M sampled support tokens, H heads, e = d / H.
"""

from collections.abc import Iterator
from itertools import chain

import torch
from torch import Tensor, nn

from umtfss.clustering.hamming_kmeans import keyed_hash
from umtfss.config import ModelConfig
from umtfss.episodes.batch import EpisodeBatch
from umtfss.models.base import MetaLearner
from umtfss.models.layers.attention import MultiHeadAttention
from umtfss.models.layers.blocks import (
    classifier,
    projection,
    self_attention_block,
    to_tokens,
    transformer_block,
)
from umtfss.models.layers.dice import IGNORE, dice_loss
from umtfss.models.layers.guidance import guided_query, guided_support, support_guidance
from umtfss.models.layers.position_encoding import repeat_edge, sine_position_encoding
from umtfss.models.layers.prototype_attention import (
    sampled_tokens,
    split_support,
    token_priority,
)
from umtfss.models.layers.residual import MatcherResidual

FEWEST, MOST = 0.6, 4.0  # in training, of the tokens sampled at test
_COUNT_STREAM = 3


class CyCTR(MetaLearner):
    """A transformer whose query gathers from support tokens that agree with themselves.

    Both branches are projected and enriched with the global support vector (the query with the
    prior mask, too). Every layer is self-attention on the query, then cycle-consistent attention
    to tokens sampled from the foreground and from the background of every shot. An auxiliary
    classifier finds the support's own mask in its tokens; it is trained, not used.

    What differs from the paper: padding is neither sampled nor attended to, nor the end of a
    cycle; the attention weights are not dropped out; which tokens are sampled follows from the
    episode's key, so that a test repeats. K shots give K times the tokens, so that weights
    trained on one shot serve any K.

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
        self.query_self = nn.ModuleList(
            self_attention_block(settings) for _ in range(settings.layers)
        )
        self.cross = nn.ModuleList(
            transformer_block(CycleAttention(width, settings.heads), settings)
            for _ in range(settings.layers)
        )
        self.head = classifier(width, settings.head_dropout)
        self.support_head = classifier(width, settings.head_dropout)
        self.residual = MatcherResidual(settings)

    def forward(self, batch: EpisodeBatch) -> Tensor:
        """(B, 2, h, w) logits, background then foreground; padding repeats the nearest one."""
        return self._logits(batch, *self._merge(batch))

    def outputs(self, batch: EpisodeBatch) -> tuple[Tensor, ...]:
        """(B, 2, h, w) logits of the query and (B * K, 2, h, w) logits of the support."""
        query, support = self._merge(batch)
        valid = batch.support_valid.flatten(0, 1)
        auxiliary = _classify(self.support_head, support, valid)
        return self._logits(batch, query, support), auxiliary

    def total_loss(self, outputs: tuple[Tensor, ...], batch: EpisodeBatch) -> Tensor:
        """The dice loss of the query plus that of the support on its own grid, a scalar.

        The support's padding and label 255 are never in its loss.
        """
        assert batch.target is not None
        target = (batch.support_mask > 0.5).long().masked_fill(~batch.support_valid, IGNORE)
        auxiliary = dice_loss(outputs[1], target.flatten(0, 1), True, self.align_corners)
        return self.loss(outputs[0], batch.target) + auxiliary

    def transformer_parameters(self) -> Iterator[nn.Parameter]:
        """The parameters of all attention, feed-forward and norm layers."""
        return chain(self.query_self.parameters(), self.cross.parameters())

    def _merge(self, batch: EpisodeBatch) -> tuple[Tensor, Tensor]:
        """(B, N, d) query and (B * K, N, d) support tokens that know the support's mask."""
        query = to_tokens(self.query_mid(batch.query_mid))
        support = to_tokens(self.support_mid(batch.support_mid.flatten(0, 1)))
        vector, prior = support_guidance(support, batch)
        query = guided_query(query, vector, prior, self.query_merge)
        return query, guided_support(support, vector, self.support_merge)

    def _logits(self, batch: EpisodeBatch, query: Tensor, support: Tensor) -> Tensor:
        valid = batch.query_valid
        context, keep, foreground = self._sample(batch, support)
        position = sine_position_encoding(valid, query.shape[2]).flatten(1, 2)
        for self_block, cross_block in zip(self.query_self, self.cross, strict=True):
            query = self_block(query, position, valid)
            query = cross_block(query, context, keep, foreground, valid.flatten(1))
        logits = self.residual(_classify(self.head, query, valid), batch)
        return repeat_edge(logits, valid, batch.side)

    def _sample(self, batch: EpisodeBatch, support: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(B, M, d) sampled tokens of all shots, (B, M) which are there, (M,) which foreground."""
        size, shots = batch.support_mask.shape[:2]
        count = most = self.settings.cycle_tokens
        vary = self.training and self.settings.cycle_tokens_vary
        if vary:
            most = round(MOST * count)
        sets = split_support(batch.support_mask, batch.support_valid).view(size * shots, -1)
        priority = token_priority(batch.key, batch.support_mask.shape[1:]).view_as(sets)
        tokens, keep = sampled_tokens(support, sets, priority, most)
        rank = torch.arange(keep.shape[1] // 2, device=keep.device)
        foreground = torch.ones_like(rank, dtype=torch.bool)
        foreground = torch.cat([foreground, ~foreground]).repeat(shots)
        tokens, keep = tokens.view(size, -1, tokens.shape[2]), keep.view(size, -1)
        if vary:
            bits = keyed_hash(batch.key, _COUNT_STREAM, rank[:1]) & 0xFFFF
            limit = count * (FEWEST + (MOST - FEWEST) * bits / 2**16)
            keep = keep & (rank.repeat(2 * shots) < limit)
        there = keep.any(0).nonzero()[:, 0]  # a place that no episode fills only takes time
        return tokens[:, there], keep[:, there], foreground[there]


class CycleAttention(MultiHeadAttention):
    """Multi-head attention to those support tokens that a cycle through the query returns to.

    In every head, a support token's best query token has a best support token itself. If one of
    the two support tokens is foreground and the other background, the first is masked out. The
    pair of the greatest affinity of all returns to itself, so some token always stays, but for
    equal affinities; then none is masked out.
    """

    def forward(  # type: ignore[override]  # the context is key and value
        self, x: Tensor, context: Tensor, keep: Tensor, foreground: Tensor, valid: Tensor
    ) -> Tensor:
        """(B, N, d) attended context.

        Args:
            x: (B, N, d).
            context: (B, M, d).
            keep: (B, M) bool, context tokens that are there.
            foreground: (M,) bool.
            valid: (B, N) bool, query tokens that are there.
        """
        q, k, v = self._split(self.query(x), self.key(context), self.value(context))
        mask = consistent_tokens(q, k, keep, foreground, valid)
        return self._attend(q, k, v, mask[:, :, None])


@torch.no_grad()
def consistent_tokens(
    query: Tensor, key: Tensor, keep: Tensor, foreground: Tensor, valid: Tensor
) -> Tensor:
    """(B, H, M) bool: support tokens that are there and cycle-consistent (Eq. 3 of the paper).

    Args:
        query: (B, H, N, e).
        key: (B, H, M, e).
        keep: (B, M) bool, support tokens that are there.
        foreground: (M,) bool.
        valid: (B, N) bool, query tokens that are there.
    """
    with torch.autocast(query.device.type, enabled=False):  # ties are common in half precision
        query, key = query.float(), key.float()
        no_query = torch.where(valid, 0, -torch.inf)[:, None]
        no_key = torch.where(keep, 0, -torch.inf)[:, None]
        # A head at a time: the affinities of all of them are much memory, which costs time, too.
        heads = zip(query.unbind(1), key.unbind(1), strict=True)
        returned = torch.stack([_cycle_ends(*head, no_query, no_key) for head in heads], 1)
    keep = keep[:, None]
    consistent = keep & (foreground[returned] == foreground)
    return torch.where(consistent.any(2, keepdim=True), consistent, keep)


def _cycle_ends(query: Tensor, key: Tensor, no_query: Tensor, no_key: Tensor) -> Tensor:
    """(B, M) int64: the support token at which the cycle from each support token ends.

    Args:
        query: (B, N, e), of one head.
        key: (B, M, e).
        no_query: (B, 1, N), 0, or minus infinity where there is no query token.
        no_key: (B, 1, M), likewise.
    """
    turn = torch.baddbmm(no_query, key, query.transpose(1, 2)).argmax(2)
    # Of the query tokens only those at which a cycle turns need their best support token.
    few = key.shape[1] < query.shape[1]
    if few:
        query = query.gather(1, turn[..., None].expand(-1, -1, query.shape[2]))
    end = torch.baddbmm(no_key, query, key.transpose(1, 2)).argmax(2)
    return end if few else end.gather(1, turn)


def _classify(head: nn.Module, tokens: Tensor, valid: Tensor) -> Tensor:
    """(n, 2, h, w) logits of (n, N, d) tokens; the head sees zeros where not (n, h, w) valid."""
    grid = tokens.view(*valid.shape, -1) * valid[..., None]
    logits: Tensor = head(grid.permute(0, 3, 1, 2))
    return logits
