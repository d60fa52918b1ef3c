"""The training-free matcher: the nearer of two prototypes.

Shapes: B batch, K shots, C channels, h w feature grid, N = h * w.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from umtfss.episodes.batch import EpisodeBatch
from umtfss.experiment.model import ModelConfig
from umtfss.models.base import MetaLearner
from umtfss.models.layers.position_encoding import repeat_edge
from umtfss.models.layers.prior_mask import masked_average


class PrototypeMatcher(MetaLearner):
    """Cosine of each query token to the mean background and foreground token; no parameters.

    Both prototypes are masked averages of the L2-normalised high features over the tokens of all K
    supports together. With self-support (the idea of arXiv:2207.11549) the query's tokens are
    classified twice. After the first pass, each prototype becomes the mean, with equal weights, of
    itself and of the mean of the query's tokens in its class.

    Args:
        settings: The model block of an experiment, for its sub-block `prototype`.
        mid_channels: Not used.
    """

    def __init__(self, settings: ModelConfig, mid_channels: Sequence[int] = ()) -> None:
        super().__init__()
        own = settings.prototype
        self.self_support, self.margin = own.self_support, own.margin

    def forward(self, batch: EpisodeBatch) -> Tensor:
        """(B, 2, h, w) cosines, background then foreground; padding repeats the nearest cosines."""
        return repeat_edge(self.cosines(batch), batch.query_valid, batch.side)

    def cosines(self, batch: EpisodeBatch) -> Tensor:
        """(B, 2, h, w) cosines, background then foreground; cosines of padding have no meaning.

        Half of the margin is added to background cosines and subtracted from foreground cosines.
        """
        support = F.normalize(batch.support_high, dim=2)
        tokens = support.permute(0, 1, 3, 4, 2).flatten(1, 3)
        valid = batch.support_valid.to(tokens.dtype)
        mask = batch.support_mask * valid
        weights = ((valid - mask).flatten(1), mask.flatten(1))
        prototypes = torch.stack([masked_average(tokens, weight) for weight in weights], 1)
        prototypes = F.normalize(prototypes, dim=2)
        query = F.normalize(batch.query_high, dim=1).flatten(2)
        cosine = self._less_margin(torch.bmm(prototypes, query))
        if self.self_support:
            foreground = cosine[:, 1] > cosine[:, 0]
            found = torch.stack([~foreground, foreground], 1)
            found = found & batch.query_valid.flatten(1)[:, None]
            # normalising the sum equals normalising the mean; the sum is zero without tokens
            own = F.normalize(torch.bmm(found.to(query.dtype), query.transpose(1, 2)), dim=2)
            prototypes = F.normalize(prototypes + own, dim=2)
            cosine = self._less_margin(torch.bmm(prototypes, query))
        return cosine.view(len(batch), 2, *batch.query_valid.shape[-2:])

    def _less_margin(self, cosine: Tensor) -> Tensor:
        """The cosines after the margin in favour of background, (B, 2, N)."""
        half = self.margin / 2
        return cosine + cosine.new_tensor([half, -half])[:, None]
