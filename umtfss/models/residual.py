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

    Training then starts at the matcher's accuracy and learns corrections. No paper has this
    residual.

    With `residual: centred`, the model's own logits have mean 0 over the valid tokens of each
    query. The model can then move foreground within an image, but cannot enlarge or shrink it as a
    whole. Earlier models learned a confidence that held for their training classes alone, and
    predicted too much background on other classes (docs/history/accuracy_log.md).

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
        """The logits with the score, added to foreground and subtracted from background.

        Args:
            logits: (B, 2, h, w).
            batch: The episodes of the logits.

        Returns:
            (B, 2, h, w) logits.
        """
        if self.matcher is None:
            return logits
        if self.centred:
            logits = _centred(logits, batch.query_valid)
        background, foreground = self.matcher.cosines(batch).unbind(1)
        score = self.scale * (foreground - background)
        return logits + torch.stack([-score, score], 1)


def _centred(logits: Tensor, valid: Tensor) -> Tensor:
    """Centre the difference of the logits over valid tokens, and return plus and minus its half."""
    background, foreground = logits.float().unbind(1)
    half = (foreground - background) / 2
    weight = valid.to(half.dtype)
    mean = (half * weight).sum((1, 2)) / weight.sum((1, 2))
    half = half - mean[:, None, None]
    return torch.stack([-half, half], 1)
