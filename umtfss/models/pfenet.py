"""PFENet: prior mask and feature enrichment (arXiv 2008.01449).

Shapes: B batch, K shots, C channels of the mid feature, d model width, h w feature grid,
N = h * w, n m grid of a scale, S scales.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from umtfss.episodes.batch import EpisodeBatch
from umtfss.experiment.model import ModelConfig
from umtfss.models.base import MetaLearner
from umtfss.models.layers.blocks import (
    ResidualConvolutions,
    classifier,
    classify,
    projection,
    to_tokens,
)
from umtfss.models.layers.cross_entropy import cross_entropy_loss
from umtfss.models.layers.guidance import guided_query, support_guidance
from umtfss.models.layers.position_encoding import fill_padding, valid_extent
from umtfss.models.layers.resample import MaskedScale, Scale, WholeScale
from umtfss.models.residual import MatcherResidual


class PFENet(MetaLearner):
    """Feature enrichment over a pyramid of grids, each with its own classifier.

    At every scale the pooled query is merged with the global support vector and the pooled prior
    mask, then with the result of the next finer scale (1x1), and refined by two 3x3 convolutions.
    All scales are resampled to the token grid and merged into the logits.

    The prior mask always differs from the release: it compares the high features of the whole
    support at the foreground tokens. The release runs layer4 again on the masked layer3, which is
    impossible with a frozen cache. With `padding: seen`, everything else equals the release. With
    `padding: hidden`, three more things differ:

    * Cells of a scale have a fixed size in tokens and pool the valid tokens alone (see
      `layers/resample.py`), so padding has no effect; the release pools the padding, too. On 60x60
      tokens without padding the cells equal the release's: 60, 30, 15 and 8 per side.
    * The prior mask and the finer scale's result are pooled to a coarser grid like the query; the
      release interpolates them.
    * The logits of every scale are resampled to the token grid, then upsampled to the target.

    K shots average the global vector and the prior mask, so weights trained on one shot serve any
    K.

    Args:
        settings: The model block of an experiment.
        mid_channels: Channels of each level of the mid feature; C is their sum.
    """

    def __init__(self, settings: ModelConfig, mid_channels: Sequence[int]) -> None:
        super().__init__()
        self.settings = settings
        self.scales = tuple(settings.pfenet.pyramid_scales)
        width, count = settings.width, len(self.scales)
        self.query_mid = projection(sum(mid_channels), width, settings.mid_dropout)
        self.support_mid = projection(sum(mid_channels), width, settings.mid_dropout)
        self.merge = nn.ModuleList(
            nn.Linear(2 * width + 1, width, bias=False) for _ in range(count)
        )
        self.between = nn.ModuleList(
            nn.Linear(2 * width, width, bias=False) for _ in range(count - 1)
        )
        self.refine = nn.ModuleList(ResidualConvolutions(width) for _ in range(count))
        self.inner = nn.ModuleList(classifier(width, settings.head_dropout) for _ in range(count))
        self.join = nn.Linear(count * width, width, bias=False)
        self.last = ResidualConvolutions(width)
        self.head = classifier(width, settings.head_dropout)
        self.residual = MatcherResidual(settings)
        self.reads_high_background = self.residual.matcher is not None

    def forward(self, batch: EpisodeBatch) -> Tensor:
        """(B, 2, h, w) logits, background then foreground; padding repeats the nearest logits."""
        return self._logits(batch, with_inner=False)[0]

    def outputs(self, batch: EpisodeBatch) -> tuple[Tensor, ...]:
        """1 + S logits, (B, 2, h, w) each: the model's logits, then every scale's logits."""
        return self._logits(batch, with_inner=True)

    def total_loss(self, outputs: tuple[Tensor, ...], batch: EpisodeBatch) -> Tensor:
        """The cross-entropy of the logits plus the mean cross-entropy of the scales, a scalar."""
        assert batch.target is not None
        main, *inner = (self.loss(logits, batch.target) for logits in outputs)
        return main + torch.stack(inner).mean()

    def loss(self, logits: Tensor, target: Tensor) -> Tensor:
        """The cross-entropy of the logits, upsampled to the target.

        Args:
            logits: (B, 2, h, w).
            target: (B, S, S) int64 in {0, 1, 255}.
        """
        return cross_entropy_loss(logits, target, self.align_corners)

    def _logits(self, batch: EpisodeBatch, with_inner: bool) -> tuple[Tensor, ...]:
        seen = self.settings.padding == "seen"
        if seen:
            batch = batch.squared()
        valid = batch.query_valid
        size = valid.shape[-2], valid.shape[-1]
        rows, columns = valid_extent(valid)
        query = to_tokens(self.query_mid(batch.query_mid)).unflatten(1, size)
        support = to_tokens(self.support_mid(batch.support_mid.flatten(0, 1)))
        _, vector, prior = support_guidance(support, batch, self.settings)

        finer: Tensor | None = None  # (B, h, w, d), the result of the next finer scale
        enriched, inner = [], []
        for index, factor in enumerate(self.scales):
            scale: Scale = MaskedScale(rows, columns, size, factor)
            if seen:
                scale = WholeScale(size, factor, valid)
            pooled = scale.pool(query)
            pooled_prior = scale.shrink(prior[..., None])[..., 0]
            merge = self.merge[index]
            assert isinstance(merge, nn.Linear)
            merged = guided_query(pooled.flatten(1, 2), vector, pooled_prior, merge)
            merged = merged.unflatten(1, pooled.shape[1:3])
            if finer is not None:
                both = torch.cat([merged, scale.shrink(finer)], 3)
                merged = merged + self.between[index - 1](both).relu()
            merged = self.refine[index](merged, scale.inside)
            if with_inner:
                scores = classify(self.inner[index], merged, scale.inside)
                if not seen:  # the released loss upsamples coarse logits at once
                    scores = scale.grow(scores.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
                inner.append(fill_padding(scores, valid, batch.side, seen))
            finer = scale.grow(merged)
            enriched.append(finer)

        inside = (valid | seen)[..., None]
        joined = self.join(torch.cat(enriched, 3)).relu()
        joined = self.last(joined, inside)
        logits = self.residual(classify(self.head, joined, inside), batch)
        return fill_padding(logits, valid, batch.side, seen), *inner
