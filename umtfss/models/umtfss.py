"""UMTFSS: the paper's few-shot segmenter (section "Meta-training FSS from Noisy Meta Tasks").

Shapes: B batch, K shots, C channels of the mid feature, D of the high feature, d model width,
h w feature grid, N = h * w.
"""

from collections.abc import Iterator, Sequence
from itertools import chain

from torch import Tensor, nn

from umtfss.episodes.batch import EpisodeBatch
from umtfss.experiment.model import ModelConfig
from umtfss.models.base import MetaLearner
from umtfss.models.layers.attention import CrossAttention
from umtfss.models.layers.blocks import (
    classifier,
    classify,
    self_attention_block,
    transformer_block,
)
from umtfss.models.layers.guidance import GuidedBranches
from umtfss.models.layers.position_encoding import fill_padding, position_encoding
from umtfss.models.layers.prototype_attention import (
    foreground_tokens,
    prototypes,
    sample_tokens,
    set_numbers,
    split_support,
    token_priority,
)
from umtfss.models.residual import MatcherResidual


class UMTFSS(MetaLearner):
    """Prototype-aware transformer on frozen features.

    Query and support are projected and merged with the support's vector, the query also with the
    prior mask. The support passes through its self-attention layers; then its tokens are grouped
    into prototypes once. The query passes through self- and cross-attention layers in turn, and
    every cross-attention attends to the prototypes. K supports are K images for self-attention and
    one set of tokens for the prototypes, so weights trained on one shot serve any K.

    With `support_self_attention: dead` the support has no self-attention layers. The released code
    computes these layers, discards the result and never trains them.

    Args:
        settings: The model block of an experiment.
        mid_channels: Channels of each level of the mid feature; C is their sum.
    """

    def __init__(self, settings: ModelConfig, mid_channels: Sequence[int]) -> None:
        super().__init__()
        self.settings = settings
        self.ignore_in_loss = settings.ignore_in_loss
        width, layers = settings.width, settings.layers
        support_layers = layers if settings.umtfss.support_self_attention == "live" else 0
        self.branches = GuidedBranches(settings, mid_channels)
        self.query_self = nn.ModuleList(self_attention_block(settings) for _ in range(layers))
        self.support_self = nn.ModuleList(
            self_attention_block(settings) for _ in range(support_layers)
        )
        self.cross = nn.ModuleList(
            transformer_block(
                CrossAttention(width, settings.heads, settings.attention_dropout), settings
            )
            for _ in range(layers)
        )
        self.head = classifier(width, settings.head_dropout)
        self.residual = MatcherResidual(settings)
        self.reads_high_background = self.residual.matcher is not None

    def forward(self, batch: EpisodeBatch) -> Tensor:
        """(B, 2, h, w) logits, background then foreground; padding repeats the nearest logits."""
        settings, seen = self.settings, self.settings.padding == "seen"
        if seen:
            batch = batch.squared()
        valid = batch.query_valid
        query, support, *_ = self.branches(batch)
        if len(self.support_self):
            support_valid = batch.support_valid.flatten(0, 1)
            place = position_encoding(support_valid, settings.width, settings.position_code)
            for block in self.support_self:
                support = block(support, place, support_valid)
        context, keep = self._context(batch, support.view(len(batch), -1, settings.width))

        place = position_encoding(valid, settings.width, settings.position_code)
        looks: list[tuple[nn.Module, tuple[Tensor, ...]]]
        looks = [(block, (place, valid)) for block in self.query_self]
        gathers = [(block, (context, keep)) for block in self.cross]
        if settings.umtfss.layer_order == "self_first":
            order = [*looks, *gathers]
        else:
            order = list(chain(*zip(looks, gathers, strict=True)))
        for block, arguments in order:
            query = block(query, *arguments)

        inside = (valid | seen)[..., None]  # zeros elsewhere, like a convolution's own padding
        logits = classify(self.head, query.view(*valid.shape, -1), inside)
        return fill_padding(self.residual(logits, batch), valid, batch.side, seen)

    def transformer_parameters(self) -> Iterator[nn.Parameter]:
        """The parameters of all attention, feed-forward and norm layers."""
        return chain(
            self.query_self.parameters(), self.support_self.parameters(), self.cross.parameters()
        )

    def _context(self, batch: EpisodeBatch, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """The context of cross-attention, (B, M, d), and the tokens to attend to, (B, M) bool.

        Vanilla attention uses the mask through the support's vector alone, as in Eq. 1.
        """
        settings, own = self.settings, self.settings.umtfss
        if own.cross_attention == "vanilla" and own.vanilla_tokens == 0:
            return tokens, batch.support_valid.flatten(1)
        seen = settings.padding == "seen"
        foreground, valid = foreground_tokens(batch, settings)
        foreground, background = split_support(foreground, valid, seen)
        if seen:  # padding is dropped after the sets are completed
            foreground, background = foreground & valid, background & valid
        sets = set_numbers(foreground, background)
        priority = token_priority(batch.key, batch.support_mask.shape[1:])
        if own.cross_attention == "vanilla":
            count = tokens.new_full((len(batch),), own.vanilla_tokens).long()
            sample = sample_tokens(sets, priority, (count, count))
            return sample.of(tokens), sample.there
        return prototypes(
            tokens,
            sets,
            batch.key,
            priority,
            (own.k_fg, own.k_bg),
            bits=own.hash_bits,
            iterations=own.hamming_iterations,
            pool=own.prototype_pool,
            mask_empty=own.mask_empty_groups,
        )
