"""The frame of HSNet and ASNet: correlations, a squeeze of the support, a decoder.

Shapes: B batch, K shots, h w feature grid, C channels.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from umtfss.episodes.batch import EpisodeBatch
from umtfss.experiment.model import ModelConfig
from umtfss.models.base import MetaLearner
from umtfss.models.layers.correlation import Correlations, correlations
from umtfss.models.layers.cross_entropy import cross_entropy_loss
from umtfss.models.layers.position_encoding import repeat_edge
from umtfss.models.residual import MatcherResidual

WIDTH = 128  # channels of a squeezed correlation


class CorrelationLearner(MetaLearner):
    """A model that sees the correlations of query and support, and no feature itself.

    The published networks read 13 maps of a ResNet-50 on grids of 13, 25 and 50 tokens. Here every
    level has one grid, so mixing resizes nothing and the decoder does not double the grid. The
    published vote of K shots counts hard predictions; here the logits of K shots are averaged.
    Channels and layers are the published ones, whatever `model.width`.

    Attributes:
        mask_support: Whether support features are multiplied by the mask before they correlate.

    Args:
        settings: The model block of an experiment.
        mid_channels: Channels of each level of the mid feature.
    """

    mask_support: bool

    def __init__(self, settings: ModelConfig, mid_channels: Sequence[int]) -> None:
        super().__init__()
        self.channels = tuple(mid_channels)
        self.decoder = Decoder(WIDTH)
        self.residual = MatcherResidual(settings)
        self.reads_high_background = self.residual.matcher is not None

    def squeezed(self, found: Correlations) -> Tensor:
        """The correlations without their support positions, (B * K, h, w, 128)."""
        raise NotImplementedError  # HSNet and ASNet define it

    def forward(self, batch: EpisodeBatch) -> Tensor:
        """(B, 2, h, w) logits, background then foreground; padding repeats the nearest logits."""
        with torch.no_grad():
            found = correlations(batch, self.channels, self.mask_support)
        logits = self.decoder(self.squeezed(found), found.query_valid)
        logits = logits.unflatten(0, (len(batch), -1)).mean(1)
        if found.scale is not None:
            logits = found.scale.grow(logits.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        return repeat_edge(self.residual(logits, batch), batch.query_valid, batch.side)

    def loss(self, logits: Tensor, target: Tensor) -> Tensor:
        """The cross-entropy of the logits, upsampled to the target; label 255 is ignored.

        Args:
            logits: (B, 2, h, w).
            target: (B, S, S) int64 in {0, 1, 255}.
        """
        return cross_entropy_loss(logits, target, self.align_corners)


class Decoder(nn.Module):
    """Four 3x3 convolutions from the squeezed correlation to two logits.

    Args:
        width: C.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        channels = (width, width, width // 2, width // 2, 2)
        self.layers = nn.ModuleList(
            nn.Conv2d(one, other, 3, padding=1) for one, other in pairwise(channels)
        )

    def forward(self, grid: Tensor, valid: Tensor) -> Tensor:
        """The logits, (B, 2, h, w); padding counts as zeros in every convolution.

        Args:
            grid: (B, h, w, C).
            valid: (B, h, w) bool.
        """
        hidden, inside = grid.permute(0, 3, 1, 2), valid[:, None]
        *convolutions, last = self.layers
        for convolution in convolutions:
            hidden = convolution(hidden * inside).relu()
        logits: Tensor = last(hidden * inside)
        return logits
