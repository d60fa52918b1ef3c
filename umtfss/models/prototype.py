"""The training-free floor: nearest of two prototypes.

Shapes: B batch, K shots, C channels, h w feature grid, N = h * w.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from umtfss.config import ModelConfig
from umtfss.episodes.batch import EpisodeBatch
from umtfss.models.base import MetaLearner
from umtfss.models.layers.position_encoding import repeat_edge
from umtfss.models.layers.prior_mask import masked_average


class PrototypeMatcher(MetaLearner):
    """Cosine of each query token to the mean background and foreground token; no parameters.

    Both prototypes are masked averages of the L2-normalised high features over the tokens of
    all K supports together. Its settings and channels are taken as every model takes them, and
    not used.

    Args:
        settings: The model block of an experiment.
        mid_channels: Channels of the mid feature.
    """

    def __init__(self, settings: ModelConfig | None = None, mid_channels: int = 0) -> None:
        super().__init__()

    def forward(self, batch: EpisodeBatch) -> Tensor:
        """(B, 2, h, w) cosines, background then foreground; padding repeats the nearest one."""
        return repeat_edge(self.cosines(batch), batch.query_valid, batch.side)

    @torch.no_grad()
    def cosines(self, batch: EpisodeBatch) -> Tensor:
        """(B, 2, h, w) cosines, background then foreground; those of padding mean nothing."""
        support = F.normalize(batch.support_high, dim=2)
        tokens = support.permute(0, 1, 3, 4, 2).flatten(1, 3)
        valid = batch.support_valid.to(tokens.dtype)
        mask = batch.support_mask * valid
        weights = ((valid - mask).flatten(1), mask.flatten(1))
        prototypes = torch.stack([masked_average(tokens, weight) for weight in weights], 1)
        query = F.normalize(batch.query_high, dim=1).flatten(2)
        cosine = torch.bmm(F.normalize(prototypes, dim=2), query)
        return cosine.view(len(batch), 2, *batch.query_valid.shape[-2:])
