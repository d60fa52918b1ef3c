"""CATrans: transformers of context and of affinity (after arXiv:2204.12817; no official code).

Shapes: B batch, K shots, P = B * K pairs of query and support, C channels of a level, d model
width, h w feature grid, N = h * w, F cells of the frame.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from umtfss.data.images import IGNORE
from umtfss.episodes.batch import EpisodeBatch
from umtfss.experiment.model import FFN_RATIO, ModelConfig
from umtfss.models.base import MetaLearner
from umtfss.models.layers.attention import MultiHeadAttention, TransformerBlock
from umtfss.models.layers.blocks import to_tokens
from umtfss.models.layers.correlation import MaskedGroupNorm
from umtfss.models.layers.position_encoding import repeat_edge, valid_extent
from umtfss.models.residual import MatcherResidual

HEADS = 2
DECODER = 128  # channels of the decoder
FRAME = 12  # side of the frame, cells
FOREGROUND_WEIGHT = 4.0  # of a foreground pixel in the loss; a background pixel has 1


class CATrans(MetaLearner):
    """Relations of features and relations of affinities, decoded from the deep level upwards.

    The middle and the last level of the mid feature pass through `LevelTransformers` each. The
    results are averaged over the shots, so five equal supports are one.

    There is no official code, and parts of the structure are a proposal:

    * Learned linear maps of frozen features, with a layer norm, take the place of a backbone that
      is trained. The decoder reads no earlier level and does not double the grid.
    * An affinity's row, whose length is the number of tokens, is summed over the cells of a frame
      of 12 x 12 over the image. So one set of weights serves every size of an image.
    * Group norms that leave padding out take the place of batch norms.

    Args:
        settings: The model block of an experiment.
        mid_channels: Channels of each level of the mid feature, from shallow to deep.
    """

    def __init__(self, settings: ModelConfig, mid_channels: Sequence[int]) -> None:
        super().__init__()
        self.channels, width = list(mid_channels), settings.width
        last = len(self.channels) - 1
        self.used = sorted({last // 2, last})  # the middle and the last level
        self.mask = MaskEncoder(width)
        self.levels = nn.ModuleList(
            LevelTransformers(self.channels[level], settings) for level in self.used
        )
        found = width + FRAME**2
        self.decoder = nn.ModuleList(
            DecoderStage(found + (DECODER if index else 0)) for index in range(len(self.used))
        )
        self.classify = nn.Conv2d(DECODER, 2, 1)
        self.residual = MatcherResidual(settings)
        self.reads_high_background = self.residual.matcher is not None

    def forward(self, batch: EpisodeBatch) -> Tensor:
        """(B, 2, h, w) logits, background then foreground; padding repeats the nearest logits."""
        inside = batch.query_valid[..., None]
        hidden: Tensor | None = None
        for stage, found in zip(self.decoder, reversed(self._levels(batch)), strict=True):
            hidden = stage(found if hidden is None else torch.cat([found, hidden], 3), inside)
        assert hidden is not None
        logits = self.residual(self.classify(hidden.permute(0, 3, 1, 2)), batch)
        return repeat_edge(logits, batch.query_valid, batch.side)

    def loss(self, logits: Tensor, target: Tensor) -> Tensor:
        """The cross-entropy of the upsampled logits, foreground weighted; 255 is ignored.

        Args:
            logits: (B, 2, h, w).
            target: (B, S, S) int64 in {0, 1, 255}.
        """
        logits = F.interpolate(
            logits.float(),
            target.shape[-2:],
            mode="bilinear",
            align_corners=self.align_corners,
        )
        weights = logits.new_tensor([1, FOREGROUND_WEIGHT])
        total = F.cross_entropy(logits, target, weights, ignore_index=IGNORE, reduction="sum")
        counted = (target == 0).sum() + FOREGROUND_WEIGHT * (target == 1).sum()
        return total / counted.clamp(min=1)

    def _levels(self, batch: EpisodeBatch) -> list[Tensor]:
        """The relations of every used level, (B, h, w, d + F) each, from shallow to deep."""
        shots, size = batch.support_mask.shape[1], batch.query_valid.shape[-2:]
        labelled = batch.support_valid.flatten(0, 1)
        mask = self.mask(batch.support_mask.flatten(0, 1), labelled)
        query_cells, support_cells = cells(batch.query_valid), cells(labelled)
        queries = batch.query_mid.split(self.channels, 1)
        supports = batch.support_mid.flatten(0, 1).split(self.channels, 1)
        found = []
        for index, relate in zip(self.used, self.levels, strict=True):
            query = Tokens(to_tokens(queries[index]), batch.query_valid.flatten(1), query_cells)
            support = Tokens(to_tokens(supports[index]), labelled.flatten(1), support_cells)
            related = relate(query, support, mask).unflatten(0, (-1, shots)).mean(1)
            found.append(related.unflatten(1, size))
        return found


class Tokens(NamedTuple):
    """The tokens of images.

    Attributes:
        features: (B, N, C), or (B, N, d) once projected.
        keep: (B, N) bool, tokens that may be attended to.
        cells: (B, N, F), part of a token in each cell of the frame.
    """

    features: Tensor
    keep: Tensor
    cells: Tensor

    def repeated(self, times: int) -> "Tokens":
        """Every image so many times in a row."""
        return Tokens(*(one.repeat_interleave(times, 0) for one in self))


class LevelTransformers(nn.Module):
    """The two transformers of a level: relations of context and relations of affinity.

    Features are mapped to the model's width and normalised first, so their scale does not matter.

    Context: support tokens attend to each other and carry the mask's feature, query tokens attend
    to each other, then query tokens attend to support tokens and take what these carry.

    Affinity: a token is described by its affinities to all tokens of an image, a softmax. A query
    token attends to the support tokens whose affinities to the support resemble its own, and takes
    their affinities to the query.

    Args:
        channels: C.
        settings: The model block of an experiment.
    """

    def __init__(self, channels: int, settings: ModelConfig) -> None:
        super().__init__()
        width = settings.width
        self.project = nn.Sequential(nn.Linear(channels, width, bias=False), nn.LayerNorm(width))
        self.support_context = relation(width, settings.dropout)
        self.query_context = relation(width, settings.dropout)
        self.cross_context = relation(width, settings.dropout)
        self.support_affinity = Affinity(2 * width, width)
        self.query_affinity = Affinity(width, width)
        self.cross_affinity = Affinity(width, width)
        self.affinity = relation(FRAME**2, settings.dropout)

    def forward(self, query: Tokens, support: Tokens, mask: Tensor) -> Tensor:
        """Context and affinities of query tokens, (P, N, d + F).

        Args:
            query: Tokens of B queries, with C channels.
            support: Tokens of P supports, with C channels.
            mask: (P, N, d) mask feature of the supports.
        """
        query, support = (
            one._replace(features=self.project(one.features)) for one in (query, support)
        )
        return torch.cat(
            [self.context(query, support, mask), self.affinities(query, support, mask)], 2
        )

    def context(self, query: Tokens, support: Tokens, mask: Tensor) -> Tensor:
        """Query tokens with the context of supports, (P, N, d), from projected tokens."""
        shots = len(support.features) // len(query.features)
        own = support.features
        carried = self.support_context(mask, own, own, mask, support.keep)
        own = query.features
        own = self.query_context(own, own, own, own, query.keep).repeat_interleave(shots, 0)
        found: Tensor = self.cross_context(own, own, support.features, carried, support.keep)
        return found

    def affinities(self, query: Tokens, support: Tokens, mask: Tensor) -> Tensor:
        """Affinities of query tokens to the query, (P, N, F), from projected tokens."""
        shots = len(support.features) // len(query.features)
        own = self.query_affinity(query, query).repeat_interleave(shots, 0)
        query = query.repeated(shots)
        masked = support._replace(features=torch.cat([mask, support.features], 2))
        asked = self.cross_affinity(query, support)
        known = self.support_affinity(masked, masked)
        answered = self.cross_affinity(support, query)
        found: Tensor = self.affinity(own, asked, known, answered, support.keep)
        return found


class Relation(MultiHeadAttention):
    """Attention whose result is added to tokens of its own, which need not be the queries."""

    def forward(  # type: ignore[override]  # the tokens that the result is added to come first
        self, _added_to: Tensor, query: Tensor, key: Tensor, value: Tensor, keep: Tensor
    ) -> Tensor:
        """The attended values, (B, N, d)."""
        return super().forward(query, key, value, keep)


def relation(width: int, dropout: float) -> TransformerBlock:
    """A transformer block called with (residual, query, key, value, kept keys)."""
    return TransformerBlock(Relation(width, HEADS), width, FFN_RATIO, dropout)


class Affinity(nn.Module):
    """The affinity of tokens to the tokens of an image: a softmax of scaled inner products.

    Rows are summed over the cells of the frame, in units of their mean. The sums are computed
    without the N x N affinities, by an attention whose values are the tokens' parts in the cells.

    Args:
        channels: C.
        width: d, channels that are compared.
    """

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.row = nn.Linear(channels, width, bias=False)
        self.column = nn.Linear(channels, width, bias=False)
        for layer in (self.row, self.column):
            nn.init.xavier_uniform_(layer.weight)

    def forward(self, rows: Tokens, columns: Tokens) -> Tensor:
        """The affinities, (B, N, F)."""
        row, column = self.row(rows.features), self.column(columns.features)
        values = columns.cells.to(row.dtype) * FRAME**2
        return F.scaled_dot_product_attention(row, column, values, columns.keep[:, None])


class MaskEncoder(nn.Module):
    """The feature of a support's mask at every token, by two 3x3 convolutions.

    Args:
        width: d.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, width // 4, 3, padding=1)
        self.second = nn.Conv2d(width // 4, width, 3, padding=1)

    def forward(self, mask: Tensor, valid: Tensor) -> Tensor:
        """(B, N, d).

        Args:
            mask: (B, h, w) float in [0, 1], foreground part of a token; 0 where not valid.
            valid: (B, h, w) bool.
        """
        hidden = self.first(mask[:, None]).relu() * valid[:, None]
        return to_tokens(self.second(hidden))


class DecoderStage(nn.Module):
    """A 3x3 convolution, a group norm and ReLU; padding counts as zeros.

    Args:
        channels: C.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(channels, DECODER, 3, padding=1, bias=False)
        self.norm = MaskedGroupNorm(DECODER)

    def forward(self, grid: Tensor, inside: Tensor) -> Tensor:
        """(B, h, w, 128).

        Args:
            grid: (B, h, w, C).
            inside: (B, h, w, 1) bool.
        """
        hidden = self.convolution((grid * inside).permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        normed: Tensor = self.norm(hidden, inside)
        return normed.relu() * inside


def cells(valid: Tensor) -> Tensor:
    """The part of every token in each cell of a 12 x 12 frame over the valid area, (B, N, F).

    Parts of a token sum to 1. Tokens outside the area have none.

    Args:
        valid: (B, h, w) bool.
    """
    rows, columns = (
        _parts(extent, side)
        for extent, side in zip(valid_extent(valid), valid.shape[1:], strict=True)
    )
    return torch.einsum("bhr,bwc->bhwrc", rows, columns).flatten(3).flatten(1, 2)


def _parts(extent: Tensor, side: int) -> Tensor:
    """The part of every row (or column) of tokens in each row of cells, (B, side, 12) float32.

    Args:
        extent: (B,) int64, number of valid rows.
        side: Number of all rows.
    """
    first = torch.arange(side, device=extent.device, dtype=torch.float32)[:, None]
    step = extent[:, None, None] / FRAME
    start = torch.arange(FRAME, device=extent.device) * step
    return (torch.minimum(first + 1, start + step) - torch.maximum(first, start)).clamp(min=0)
