"""RePRI's inference without training, on frozen features (arXiv:2012.06166).

Shapes: B batch, K shots, C channels, h w feature grid.
"""

from collections.abc import Sequence

from torch import Tensor

from umtfss.episodes.batch import EpisodeBatch
from umtfss.experiment.model import ModelConfig
from umtfss.models.base import MetaLearner
from umtfss.models.layers.position_encoding import repeat_edge
from umtfss.models.layers.transduction import transductive_logits


class TransductiveMatcher(MetaLearner):
    """A linear classifier of the high features, fitted to every episode; no learned parameters.

    Two things differ from RePRI. A support token's label is the foreground part of its area; RePRI
    takes the nearest pixel, which loses small objects. Padding is known from the image's size;
    RePRI reads it from the query's true mask.

    Args:
        settings: Not used.
        mid_channels: Not used.
    """

    def __init__(self, settings: ModelConfig, mid_channels: Sequence[int] = ()) -> None:
        super().__init__()

    def forward(self, batch: EpisodeBatch) -> Tensor:
        """(B, 2, h, w) logits, background then foreground; padding repeats the nearest logits."""
        logits = transductive_logits(batch, batch.query_high, batch.support_high)
        return repeat_edge(logits, batch.query_valid, batch.side)
