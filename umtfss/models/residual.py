"""The training-free score added to a model's logits.

Shapes: B batch, h w feature grid.
"""

import torch
from torch import Tensor, nn

from umtfss.episodes.batch import EpisodeBatch
from umtfss.experiment.model import ModelConfig
from umtfss.models.prototype import PrototypeMatcher

MATCHER_SCALE = 10.0  # the cosines of true and false tokens differ by about a tenth


class MatcherResidual(nn.Module):
    """Adds the score of the training-free matcher, times a learned scale, to the logits.

    So training starts at the floor and learns to correct it. It is in none of the papers; a few
    hundred steps do not reach the floor without it.

    Centred, the model's own part has mean 0 over the valid tokens of each query: it can move
    foreground about in an image, not make all of it smaller or larger. What a model learns of how
    sure to be holds for the classes of its training; on others it is too sure of background, be
    the training classes true or pseudo (docs/history/accuracy_log.md).

    Args:
        settings: The model block of an experiment: `residual` ("none": the logits pass unchanged),
            and the matcher's sub-block `prototype`.
    """

    def __init__(self, settings: ModelConfig) -> None:
        super().__init__()
        self.matcher = None if settings.residual == "none" else PrototypeMatcher(settings)
        self.centred = settings.residual == "centred"
        if self.matcher is not None:
            self.scale = nn.Parameter(torch.tensor(MATCHER_SCALE))

    def forward(self, logits: Tensor, batch: EpisodeBatch) -> Tensor:
        """(B, 2, h, w) logits; the score raises foreground and lowers background alike.

        Args:
            logits: (B, 2, h, w).
            batch: The episodes that they are of.
        """
        if self.matcher is None:
            return logits
        if self.centred:
            logits = _centred(logits, batch.query_valid)
        background, foreground = self.matcher.cosines(batch).unbind(1)
        score = self.scale * (foreground - background)
        return logits + torch.stack([-score, score], 1)


def _centred(logits: Tensor, valid: Tensor) -> Tensor:
    """The logits as plus and minus half of their difference, less its mean over valid tokens."""
    background, foreground = logits.float().unbind(1)
    half = (foreground - background) / 2
    weight = valid.to(half.dtype)
    mean = (half * weight).sum((1, 2)) / weight.sum((1, 2))
    half = half - mean[:, None, None]
    return torch.stack([-half, half], 1)
