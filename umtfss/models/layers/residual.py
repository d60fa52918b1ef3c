"""The training-free score added to a model's logits.

Shapes: B batch, h w feature grid.
"""

from typing import Literal

import torch
from torch import Tensor, nn

from umtfss.episodes.batch import EpisodeBatch
from umtfss.models.prototype import PrototypeMatcher

MATCHER_SCALE = 10.0  # the cosines of true and false tokens differ by about a tenth


class MatcherResidual(nn.Module):
    """Adds the score of the training-free matcher, times a learned scale, to the logits.

    So training starts at the floor and learns to correct it. It is in none of the papers; a few
    hundred steps do not reach the floor without it.

    Args:
        kind: "prototype", or "none": the logits pass unchanged.
    """

    def __init__(self, kind: Literal["none", "prototype"]) -> None:
        super().__init__()
        self.matcher = PrototypeMatcher() if kind == "prototype" else None
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
        background, foreground = self.matcher.cosines(batch).unbind(1)
        score = self.scale * (foreground - background)
        return logits + torch.stack([-score, score], 1)
