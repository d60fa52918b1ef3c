"""RePRI: a base head, then transductive inference on its features (arXiv:2012.06166).

Shapes: B batch, K shots, d model width, h w feature grid, M classes of the training tasks.
"""

from collections.abc import Sequence

from torch import Tensor

from umtfss.episodes.batch import EpisodeBatch
from umtfss.experiment.model import ModelConfig
from umtfss.models.base import MetaLearner
from umtfss.models.layers.base_head import BaseHead, class_loss
from umtfss.models.layers.position_encoding import repeat_edge
from umtfss.models.layers.transduction import transductive_logits

LABEL_SMOOTHING = 0.1


class RePRI(MetaLearner):
    """A linear classifier of the base head's features, fitted to every episode.

    Training is not episodic: the base head learns the classes of the queries' maps. The published
    system trains its backbone, too, and ignores pixels of novel classes, which are background here.

    Args:
        settings: The model block of an experiment.
        mid_channels: Channels of each level of the mid feature; C is their sum.
    """

    reads_classes = True
    reads_high_background = False

    def __init__(self, settings: ModelConfig, mid_channels: Sequence[int]) -> None:
        super().__init__()
        self.base = BaseHead(sum(mid_channels), settings.width, settings.head_dropout)

    def tell_apart(self, classes: int, are_clusters: bool) -> None:
        """Give the base head its classes."""
        self.base.tell_apart(classes, are_clusters)

    def forward(self, batch: EpisodeBatch) -> Tensor:
        """(B, 2, h, w) logits, background then foreground; padding repeats the nearest logits."""
        return self._logits(batch, self.base.features(batch.query_mid, batch.query_valid))

    def outputs(self, batch: EpisodeBatch) -> tuple[Tensor, ...]:
        """(B, 2, h, w) logits of the episodes and (B, 1 + M, h, w) logits of the base head."""
        query = self.base.features(batch.query_mid, batch.query_valid)
        classes = repeat_edge(self.base(query), batch.query_valid, batch.side)
        return self._logits(batch, query), classes

    def total_loss(self, outputs: tuple[Tensor, ...], batch: EpisodeBatch) -> Tensor:
        """The smoothed cross-entropy of the base head over its classes, a scalar."""
        assert batch.query_classes is not None
        return class_loss(outputs[1], batch.query_classes, self.align_corners, LABEL_SMOOTHING)

    def _logits(self, batch: EpisodeBatch, query: Tensor) -> Tensor:
        shots = batch.support_mid.shape[1]
        support = self.base.features(
            batch.support_mid.flatten(0, 1), batch.support_valid.flatten(0, 1)
        )
        logits = transductive_logits(batch, query, support.unflatten(0, (-1, shots)))
        return repeat_edge(logits, batch.query_valid, batch.side)
