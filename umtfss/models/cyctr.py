"""CyCTR: cycle-consistent transformer (arXiv 2106.02320).

Shapes: B batch, K shots, C channels of the mid feature, d model width, h w feature grid,
N = h * w, M sampled support tokens, H heads, e = d / H, S S target grid.
"""

from collections.abc import Iterator, Sequence
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

FEWEST = 0.6  # smallest factor in training on the number of tokens sampled at test
MOST_OF_ONE_SHOT, MOST_OF_MORE = 4.0, 1.4
_SCALE_STREAM = 3
_LAYER_STREAM = 4


class Sample(NamedTuple):
    """Support tokens that the query may attend to.

    Attributes:
        tokens: (B, M, d).
        there: (B, M) bool, True for tokens in the cycle.
        shown: (B, M) bool, True for tokens in the attention.
        foreground: (B, M) bool.
    """

    tokens: Tensor
    there: Tensor
    shown: Tensor
    foreground: Tensor


class CyCTR(MetaLearner):
    """A transformer with attention from the query to cycle-consistent support tokens.

    Query and support are projected and merged with the support's vector, the query also with the
    prior mask. Every layer is self-attention on the query, then cycle-consistent attention to
    tokens sampled from the foreground and the background of all shots. A 1x1 convolution and a
    residual pair of 3x3 convolutions lead to the classifier.

    In training, the task is also reversed: the masked average of the fused query under its true
    mask segments the supports.

    Three things differ from the released code, beyond the keys of `preset: release`. The sampled
    tokens, and the scale of their number in training, follow from each episode's key, so a test is
    repeatable. The flags of a sampled token belong to this token (the released code mixes up two
    lists of indices). K shots give K times the tokens, so weights trained on one shot serve any K.

    Args:
        settings: The model block of an experiment.
        mid_channels: Channels of each level of the mid feature; C is their sum.
    """

    reads_support_target = True

    def __init__(self, settings: ModelConfig, mid_channels: Sequence[int]) -> None:
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
        self.reads_high_background = self.residual.matcher is not None

    @property
    def _seen(self) -> bool:
        return self.settings.padding == "seen"

    def forward(self, batch: EpisodeBatch) -> Tensor:
        """(B, 2, h, w) logits, background then foreground; padding repeats the nearest logits."""
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
        """The dice loss of the query plus the mean dice loss of the supports, a scalar."""
        assert batch.target is not None
        assert batch.support_target is not None
        auxiliary = self.loss(outputs[1], batch.support_target.flatten(0, 1))
        return self.loss(outputs[0], batch.target) + auxiliary

    def transformer_parameters(self) -> Iterator[nn.Parameter]:
        """The parameters of attention, feed-forward and norm layers, and the level's vector."""
        return chain([self.level], self.query_self.parameters(), self.cross.parameters())

    def _fused(self, batch: EpisodeBatch, branches: Branches) -> Tensor:
        """The query after the transformer and the convolutions behind it, (B, h, w, d)."""
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
        """The query's true foreground, interpolated at the tokens, (B, h, w) float."""
        assert batch.target is not None
        height, width = batch.query_valid.shape[-2:]
        grid = (batch.side, batch.side) if batch.side is not None else (height, width)
        foreground = (batch.target == 1).float()[:, None]
        mask = F.interpolate(foreground, grid, mode="bilinear", align_corners=self.align_corners)[
            :, 0, :height, :width
        ]
        return mask * (batch.query_valid | self._seen)

    def _sample(self, batch: EpisodeBatch, support: Tensor, layer: int) -> Sample:
        """Draw tokens of all shots for a layer."""
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
    """The factor on the number of tokens that training samples for a layer, (B,) float.

    The factor is uniform in 0.6 .. 4 for one shot and in 0.6 .. 1.4 for more shots. The episode's
    key decides it.

    Args:
        key: (B,) int64.
        layer: Number of the layer.
        shots: K.
    """
    bits = keyed_hash(key, _SCALE_STREAM, key.new_tensor([layer]))[:, 0] & 0xFFFF
    most = MOST_OF_ONE_SHOT if shots == 1 else MOST_OF_MORE
    return FEWEST + (most - FEWEST) * bits / 2**16


class CycleAttention(MultiHeadAttention):
    """Multi-head attention to cycle-consistent support tokens.

    In every head, a cycle leads from a support token to its best query token, and from there to the
    best support token of this query token. If the cycle starts in the foreground and ends in the
    background, or the reverse, its first token is masked out. If this mask and padding leave no
    token, no token is masked out, not even padding.

    Args:
        width: d.
        heads: Number of heads, a divisor of d.
        dropout: Rate on the attention weights.
        spared: Part of the inconsistent tokens that stays in training.
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
        """The attended context, (B, N, d).

        Args:
            x: (B, N, d) query tokens.
            context: (B, M, d) support tokens.
            there: (B, M) bool, context tokens at which cycles may start and end.
            shown: (B, M) bool, context tokens that may be attended to.
            foreground: (B, M) bool, context tokens in the foreground.
            valid: (B, N) bool, query tokens through which cycles may lead.
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
    """The present and cycle-consistent support tokens, (B, H, M) bool (Eq. 3 of the CyCTR paper).

    Args:
        query: (B, H, N, e).
        key: (B, H, M, e).
        there: (B, M) bool, support tokens that are present.
        foreground: (B, M) bool, support tokens in the foreground.
        valid: (B, N) bool, query tokens that are present.
    """
    with torch.autocast(query.device.type, enabled=False):  # ties are common in half precision
        query, key = query.float(), key.float()
        no_query = torch.where(valid, 0, -torch.inf)[:, None]
        no_key = torch.where(there, 0, -torch.inf)[:, None]
        # One head at a time: the affinities of all heads need much memory, and so more time.
        heads = zip(query.unbind(1), key.unbind(1), strict=True)
        returned = torch.stack([_cycle_ends(*head, no_query, no_key) for head in heads], 1)
    ends = foreground[:, None].expand_as(returned).gather(2, returned)
    return there[:, None] & (ends == foreground[:, None])


def _cycle_ends(query: Tensor, key: Tensor, no_query: Tensor, no_key: Tensor) -> Tensor:
    """The support token at which the cycle from each support token ends, (B, M) int64.

    Args:
        query: (B, N, e), of one head.
        key: (B, M, e), of one head.
        no_query: (B, 1, N), 0, or minus infinity where no query token is present.
        no_key: (B, 1, M), 0, or minus infinity where no support token is present.
    """
    turn = torch.baddbmm(no_query, key, query.transpose(1, 2)).argmax(2)
    # Only the query tokens in a cycle need their best support token.
    few = key.shape[1] < query.shape[1]
    if few:
        query = query.gather(1, turn[..., None].expand(-1, -1, query.shape[2]))
    end = torch.baddbmm(no_key, query, key.transpose(1, 2)).argmax(2)
    return end if few else end.gather(1, turn)
