"""CyCTR: cycle-consistent transformer (arXiv 2106.02320).

Shapes: B batch, K shots, C channels of the mid feature, d model width, h w feature grid,
N = h * w, M sampled support tokens, H heads, e = d / H, S S target grid.
"""

from collections.abc import Iterator
from itertools import chain
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from umtfss.episodes.batch import EpisodeBatch
from umtfss.experiment.model import ModelConfig
from umtfss.models.base import MetaLearner
from umtfss.models.layers.attention import MultiHeadAttention
from umtfss.models.layers.blocks import (
    ResidualConvolutions,
    classifier,
    classify,
    self_attention_block,
    transformer_block,
)
from umtfss.models.layers.guidance import Branches, GuidedBranches, guided_support
from umtfss.models.layers.hamming_kmeans import keyed_hash
from umtfss.models.layers.position_encoding import fill_padding, position_encoding
from umtfss.models.layers.prior_mask import masked_average
from umtfss.models.layers.prototype_attention import (
    foreground_tokens,
    sample_tokens,
    set_numbers,
    split_support,
    token_priority,
)
from umtfss.models.residual import MatcherResidual

FEWEST = 0.6  # in training, of the tokens sampled at test
MOST_OF_ONE_SHOT, MOST_OF_MORE = 4.0, 1.4
_SCALE_STREAM = 3
_LAYER_STREAM = 4


class Sample(NamedTuple):
    """Support tokens that the query may attend to.

    Attributes:
        tokens: (B, M, d).
        there: (B, M) bool, in the cycle.
        shown: (B, M) bool, in the attention.
        foreground: (B, M) bool.
    """

    tokens: Tensor
    there: Tensor
    shown: Tensor
    foreground: Tensor


class CyCTR(MetaLearner):
    """A transformer whose query gathers from support tokens that agree with themselves.

    Both branches are projected and merged with the support's vector (the query with the prior
    mask, too). Every layer is self-attention on the query, then cycle-consistent attention to
    tokens sampled from the foreground and from the background of all shots. A 1x1 and a residual
    pair of 3x3 convolutions lead to the classifier.

    In training, the task is turned round as well: the vector of the fused query under its own
    true mask segments the supports. That trains the transformer from both sides.

    What differs from the release, besides what `preset: release` turns back: which tokens are
    sampled, and the scale of their number in training, follow from each episode's key, so that a
    test repeats; flags of drawn tokens are their own (the release mixes up two lists of indices).
    K shots give K times the tokens, so that weights trained on one shot serve any K.

    Args:
        settings: The model block of an experiment.
        mid_channels: C.
    """

    reads_support_target = True

    def __init__(self, settings: ModelConfig, mid_channels: int) -> None:
        super().__init__()
        self.settings = settings
        self.ignore_in_loss = settings.ignore_in_loss
        width, heads, layers = settings.width, settings.heads, settings.layers
        spared = settings.cyctr.cycle_spared
        self.branches = GuidedBranches(settings, mid_channels)
        self.level = nn.Parameter(nn.init.xavier_uniform_(torch.empty(1, width)))
        self.query_self = nn.ModuleList(self_attention_block(settings) for _ in range(layers))
        self.cross = nn.ModuleList(
            transformer_block(
                CycleAttention(width, heads, settings.attention_dropout, spared),
                settings,
            )
            for _ in range(layers)
        )
        self.reduce = nn.Linear(width, width, bias=False)
        self.refine = ResidualConvolutions(width)
        self.head = classifier(width, settings.head_dropout)
        self.back_projection = nn.Linear(width, width, bias=False)
        self.back_merge = nn.Linear(2 * width, width, bias=False)
        self.back_refine = ResidualConvolutions(width)
        self.back_head = classifier(width, settings.head_dropout)
        self.residual = MatcherResidual(settings)

    @property
    def _seen(self) -> bool:
        return self.settings.padding == "seen"

    def forward(self, batch: EpisodeBatch) -> Tensor:
        """(B, 2, h, w) logits, background then foreground; padding repeats the nearest one."""
        if self._seen:
            batch = batch.squared()
        return self._logits(batch, self._fused(batch, self.branches(batch)))

    def outputs(self, batch: EpisodeBatch) -> tuple[Tensor, ...]:
        """(B, 2, h, w) logits of the query and (B * K, 2, h, w) logits of the supports."""
        if self._seen:
            batch = batch.squared()
        branches = self.branches(batch)
        fused = self._fused(batch, branches)
        return self._logits(batch, fused), self._back(batch, branches, fused)

    def total_loss(self, outputs: tuple[Tensor, ...], batch: EpisodeBatch) -> Tensor:
        """The dice loss of the query plus the mean one of the supports, a scalar."""
        assert batch.target is not None
        assert batch.support_target is not None
        auxiliary = self.loss(outputs[1], batch.support_target.flatten(0, 1))
        return self.loss(outputs[0], batch.target) + auxiliary

    def transformer_parameters(self) -> Iterator[nn.Parameter]:
        """The parameters of all attention, feed-forward and norm layers, and the level's vector."""
        return chain([self.level], self.query_self.parameters(), self.cross.parameters())

    def _fused(self, batch: EpisodeBatch, branches: Branches) -> Tensor:
        """(B, h, w, d) the query after the transformer and the convolutions behind it."""
        settings, valid = self.settings, batch.query_valid
        query = branches.query
        support = branches.support.view(len(batch), -1, query.shape[2])
        place = position_encoding(valid, settings.width, settings.position_code) + self.level
        in_cycle = (valid | self._seen).flatten(1)
        anew = self.training and settings.cyctr.cycle_tokens_vary
        sample = self._sample(batch, support, 0)
        for layer, (look, gather) in enumerate(zip(self.query_self, self.cross, strict=True)):
            query = look(query, place, valid)
            if layer and anew:
                sample = self._sample(batch, support, layer)
            query = gather(query, *sample, in_cycle)
        query = self.reduce(query).relu().view(*valid.shape, -1)
        return self.refine(query, (valid | self._seen)[..., None])

    def _logits(self, batch: EpisodeBatch, fused: Tensor) -> Tensor:
        valid = batch.query_valid
        logits = classify(self.head, fused, (valid | self._seen)[..., None])
        return fill_padding(self.residual(logits, batch), valid, batch.side, self._seen)

    def _back(self, batch: EpisodeBatch, branches: Branches, fused: Tensor) -> Tensor:
        """(B * K, 2, h, w) logits of the supports, segmented by the query's vector."""
        valid = batch.support_valid.flatten(0, 1)
        query = branches.query_projected + self.back_projection(fused).relu().flatten(1, 2)
        vector = masked_average(query, self._query_mask(batch).flatten(1).to(query.dtype))
        vectors = vector[:, None].expand(-1, batch.support_valid.shape[1], -1)
        support = guided_support(branches.support_projected, vectors, self.back_merge)
        inside = (valid | self._seen)[..., None]
        grid = self.back_refine(support.view(*valid.shape, -1), inside)
        logits = classify(self.back_head, grid, inside)
        return fill_padding(logits, valid, batch.side, self._seen)

    def _query_mask(self, batch: EpisodeBatch) -> Tensor:
        """(B, h, w) float: the query's own true foreground, interpolated at the tokens."""
        assert batch.target is not None
        height, width = batch.query_valid.shape[-2:]
        grid = (batch.side, batch.side) if batch.side is not None else (height, width)
        foreground = (batch.target == 1).float()[:, None]
        mask = F.interpolate(foreground, grid, mode="bilinear", align_corners=self.align_corners)[
            :, 0, :height, :width
        ]
        return mask * (batch.query_valid | self._seen)

    def _sample(self, batch: EpisodeBatch, support: Tensor, layer: int) -> Sample:
        """Tokens of all shots, drawn for a layer."""
        settings = self.settings
        foreground, valid = foreground_tokens(batch, settings)
        sets = set_numbers(*split_support(foreground, valid, self._seen))
        shots = batch.support_valid.shape[1]
        count = torch.full_like(batch.key, settings.cyctr.cycle_tokens * shots)
        key = batch.key
        if self.training and settings.cyctr.cycle_tokens_vary:
            count = (count * training_scale(key, layer, shots)).long()
            key = key + (keyed_hash(key, _LAYER_STREAM, key.new_tensor([layer]))[:, 0])
        priority = token_priority(key, batch.support_mask.shape[1:])
        drawn = sample_tokens(sets, priority, (count, count))
        shown = drawn.there & drawn.of(valid.flatten(1)) if self._seen else drawn.there
        return Sample(drawn.of(support), drawn.there, shown, drawn.foreground)


def training_scale(key: Tensor, layer: int, shots: int) -> Tensor:
    """(B,) float factor on the number of tokens that training samples for a layer.

    Uniform from 0.6 to 4 of one shot, to 1.4 of more; keyed by the episode.

    Args:
        key: (B,) int64.
        layer: Number of the layer.
        shots: K.
    """
    bits = keyed_hash(key, _SCALE_STREAM, key.new_tensor([layer]))[:, 0] & 0xFFFF
    most = MOST_OF_ONE_SHOT if shots == 1 else MOST_OF_MORE
    return FEWEST + (most - FEWEST) * bits / 2**16


class CycleAttention(MultiHeadAttention):
    """Multi-head attention to those support tokens that a cycle through the query returns to.

    In every head, a support token's best query token has a best support token itself. If one of
    the two support tokens is foreground and the other background, the first is masked out. Where
    that and padding leave no token, none is masked out, padding neither.

    Args:
        width: d.
        heads: Number of heads, a divisor of d.
        dropout: Rate on the attention weights.
        spared: Part of the inconsistent tokens that training lets through.
    """

    def __init__(self, width: int, heads: int, dropout: float = 0.0, spared: float = 0.0) -> None:
        super().__init__(width, heads, dropout)
        self.spared = spared

    def forward(  # type: ignore[override]  # the context is key and value
        self,
        x: Tensor,
        context: Tensor,
        there: Tensor,
        shown: Tensor,
        foreground: Tensor,
        valid: Tensor,
    ) -> Tensor:
        """(B, N, d) attended context.

        Args:
            x: (B, N, d).
            context: (B, M, d).
            there: (B, M) bool, context tokens that cycles start from and end at.
            shown: (B, M) bool, those of them that may be attended to.
            foreground: (B, M) bool.
            valid: (B, N) bool, query tokens that cycles turn at.
        """
        q, k, v = self._split(self.query(x), self.key(context), self.value(context))
        consistent = consistent_tokens(q, k, there, foreground, valid)
        if self.training and self.spared > 0:
            consistent |= torch.rand(consistent.shape, device=x.device) < self.spared
        kept = consistent & shown[:, None]
        kept = torch.where(kept.any(2, keepdim=True), kept, there[:, None])
        return self._attend(q, k, v, kept[:, :, None])


@torch.no_grad()
def consistent_tokens(
    query: Tensor, key: Tensor, there: Tensor, foreground: Tensor, valid: Tensor
) -> Tensor:
    """(B, H, M) bool: support tokens that are there and cycle-consistent (Eq. 3 of the paper).

    Args:
        query: (B, H, N, e).
        key: (B, H, M, e).
        there: (B, M) bool, support tokens that are there.
        foreground: (B, M) bool.
        valid: (B, N) bool, query tokens that are there.
    """
    with torch.autocast(query.device.type, enabled=False):  # ties are common in half precision
        query, key = query.float(), key.float()
        no_query = torch.where(valid, 0, -torch.inf)[:, None]
        no_key = torch.where(there, 0, -torch.inf)[:, None]
        # A head at a time: the affinities of all of them are much memory, which costs time, too.
        heads = zip(query.unbind(1), key.unbind(1), strict=True)
        returned = torch.stack([_cycle_ends(*head, no_query, no_key) for head in heads], 1)
    ends = foreground[:, None].expand_as(returned).gather(2, returned)
    return there[:, None] & (ends == foreground[:, None])


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
