"""RePRI's inference without training, on frozen features (arXiv:2012.06166).

Shapes: B batch, K shots, C channels, h w feature grid.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from umtfss.episodes.batch import EpisodeBatch
from umtfss.experiment.model import ModelConfig
from umtfss.models.base import MetaLearner
from umtfss.models.layers.position_encoding import repeat_edge
from umtfss.models.layers.transduction import TransductiveTask, fit

NOTHING_FOUND = -1.0  # score of every query token of an episode whose supports show no foreground


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


@torch.no_grad()
def transductive_logits(batch: EpisodeBatch, query: Tensor, support: Tensor) -> Tensor:
    """The logits of every episode's own classifier, (B, 2, h, w) float32; 0 on padding.

    Args:
        batch: The episodes, for masks and valid areas.
        query: (B, C, h, w) features of the query.
        support: (B, K, C, h, w) features of the supports.
    """
    with torch.autocast(query.device.type, enabled=False):
        score = torch.zeros(batch.query_valid.shape, device=query.device)
        for row, valid in enumerate(batch.query_valid):
            inside = batch.support_valid[row]
            task = TransductiveTask(
                F.normalize(query[row].movedim(0, 2)[valid].float(), dim=1),
                F.normalize(support[row].movedim(1, 3)[inside].float(), dim=1),
                batch.support_mask[row][inside].float(),
                support.shape[1],
            )
            found = fit(task).scores(task.query) if task.label.any() else NOTHING_FOUND
            score[row, valid] = found
        return torch.stack([-score, score], 1) / 2
