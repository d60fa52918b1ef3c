"""BAM: a meta-learner whose foreground excludes known classes (arXiv:2203.07615).

Shapes: B batch, K shots, C channels of the mid feature, d model width, h w feature grid, N = h * w,
M classes of the training tasks.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from umtfss.episodes.batch import EpisodeBatch
from umtfss.experiment.model import ModelConfig
from umtfss.models.base import MetaLearner
from umtfss.models.layers.base_head import BaseHead, class_loss
from umtfss.models.layers.blocks import (
    ResidualConvolutions,
    classifier,
    classify,
    projection,
    to_tokens,
)
from umtfss.models.layers.cross_entropy import cross_entropy_loss
from umtfss.models.layers.dilated_pyramid import DilatedPyramid
from umtfss.models.layers.guidance import guided_query, support_guidance
from umtfss.models.layers.position_encoding import repeat_edge

_NORM = 1e-7  # least norm of a channel in the Gram matrix, as in the release


class BAM(MetaLearner):
    """PFENet's guidance with a dilated pyramid, and an ensemble with a base head.

    The base head names the classes of the training tasks in the query. Their probability, the base
    map, speaks for background. In training the episode's own class is left out of the base map.

    Five things differ from the published system:

    * The base head reads the frozen mid feature and is trained beside the meta-learner, not before.
    * Supports have equal weights; the published weights belong to one number of shots.
    * The scene difference compares the first level of the mid feature.
    * The prior mask compares high features of the whole support (see `PFENet`).
    * Clusters may hold novel objects. On clusters, each cluster counts in the base map of a test by
      the part of the support's foreground that lies outside it.

    Args:
        settings: The model block of an experiment.
        mid_channels: Channels of each level of the mid feature, from shallow to deep; C is their
            sum.
    """

    reads_classes = True
    reads_high_background = False

    def __init__(self, settings: ModelConfig, mid_channels: Sequence[int]) -> None:
        super().__init__()
        self.settings = settings
        width, channels = settings.width, sum(mid_channels)
        self.low_channels = mid_channels[0]
        self.base = BaseHead(channels, width, settings.head_dropout)
        self.query_mid = projection(channels, width, settings.mid_dropout)
        self.support_mid = projection(channels, width, settings.mid_dropout)
        self.merge = nn.Linear(2 * width + 1, width, bias=False)
        self.pyramid = DilatedPyramid(width, settings.bam.dilations)
        self.refine = ResidualConvolutions(width)
        self.head = classifier(width, settings.head_dropout)
        self.meta_weights = nn.Parameter(torch.tensor([1.0, 0.0]))  # of the map and of the scene
        self.base_weights = nn.Parameter(torch.tensor([1.0, 0.0]))  # of background and of the base

    def tell_apart(self, classes: int, are_clusters: bool) -> None:
        """Give the base head its classes."""
        self.base.tell_apart(classes, are_clusters)

    def forward(self, batch: EpisodeBatch) -> Tensor:
        """(B, 2, h, w) scores, background then foreground; padding repeats the nearest scores."""
        return self.outputs(batch)[0]

    def outputs(self, batch: EpisodeBatch) -> tuple[Tensor, ...]:
        """The ensemble's scores, the meta-learner's logits and the base head's logits.

        The shapes are (B, 2, h, w) twice, then (B, 1 + M, h, w).
        """
        meta = self.meta_logits(batch)
        classes = self.base(self.base.features(batch.query_mid, batch.query_valid))
        base = base_map(classes, self._weights(batch, classes))
        scores = self.ensemble(meta, base, scene_difference(batch, self.low_channels))
        return tuple(
            repeat_edge(one, batch.query_valid, batch.side) for one in (scores, meta, classes)
        )

    def total_loss(self, outputs: tuple[Tensor, ...], batch: EpisodeBatch) -> Tensor:
        """The cross-entropies of ensemble, meta-learner and base head, a scalar.

        As published, the ensemble's scores are near to probabilities and are taken as logits.
        """
        assert batch.target is not None
        assert batch.query_classes is not None
        scores, meta, classes = outputs
        episodes = self.loss(scores, batch.target) + self.loss(meta, batch.target)
        return episodes + class_loss(classes, batch.query_classes, self.align_corners)

    def loss(self, logits: Tensor, target: Tensor) -> Tensor:
        """The cross-entropy of the logits, upsampled to the target.

        Args:
            logits: (B, 2, h, w).
            target: (B, S, S) int64 in {0, 1, 255}.
        """
        return cross_entropy_loss(logits, target, self.align_corners)

    def meta_logits(self, batch: EpisodeBatch) -> Tensor:
        """The logits of the meta-learner alone, (B, 2, h, w); logits of padding have no meaning."""
        valid, size = batch.query_valid, batch.query_valid.shape[-2:]
        query = to_tokens(self.query_mid(batch.query_mid))
        support = to_tokens(self.support_mid(batch.support_mid.flatten(0, 1)))
        _, vector, prior = support_guidance(support, batch, self.settings)
        merged = guided_query(query, vector, prior, self.merge).unflatten(1, size)
        grid = self.pyramid(merged.permute(0, 3, 1, 2), valid).permute(0, 2, 3, 1)
        inside = valid[..., None]
        return classify(self.head, self.refine(grid, inside), inside)

    def ensemble(self, meta: Tensor, base: Tensor, scene: Tensor) -> Tensor:
        """The scores of background and foreground, (B, 2, h, w).

        Args:
            meta: (B, 2, h, w) logits of the meta-learner.
            base: (B, h, w) base map, in [0, 1].
            scene: (B,) scene difference.
        """
        kept, shift = self.meta_weights.float().unbind()
        own, known = self.base_weights.float().unbind()
        adjusted = kept * meta.float().softmax(1) + shift * scene[:, None, None, None]
        background, foreground = adjusted.unbind(1)
        return torch.stack([own * background + known * base, foreground], 1)

    def _weights(self, batch: EpisodeBatch, classes: Tensor) -> Tensor:
        """The weight of each class in the base map, (B, M) float."""
        weights = classes.new_ones(len(batch), classes.shape[1] - 1, dtype=torch.float32)
        if batch.class_index is not None:
            return weights.scatter(1, batch.class_index[:, None] - 1, 0.0)
        return weights - self._support_shares(batch) if self.base.are_clusters else weights

    @torch.no_grad()
    def _support_shares(self, batch: EpisodeBatch) -> Tensor:
        """The part of the supports' foreground in each cluster, (B, M) float."""
        features = self.base.features(
            batch.support_mid.flatten(0, 1), batch.support_valid.flatten(0, 1)
        )
        found = self.base(features).float().softmax(1)[:, 1:].unflatten(0, (len(batch), -1))
        mask = batch.support_mask[:, :, None]
        total = (found * mask).sum((1, 3, 4))
        return total / mask.sum((1, 3, 4)).clamp(min=torch.finfo(torch.float32).tiny)


def base_map(classes: Tensor, weights: Tensor) -> Tensor:
    """The weighted probability of known classes at every token, (B, h, w), without gradient.

    Args:
        classes: (B, 1 + M, h, w) logits of the base head.
        weights: (B, M).
    """
    found = classes.detach().float().softmax(1)[:, 1:]
    return (found * weights[..., None, None]).sum(1)


@torch.no_grad()
def scene_difference(batch: EpisodeBatch, channels: int) -> Tensor:
    """The distance of the Gram matrices of query and supports, (B,) float32, mean over the shots.

    It is the Frobenius norm of the difference over the number of channels: in [0, 1] for features
    without negative values, else at most 2.

    Args:
        batch: The episodes.
        channels: Channels of the first level of the mid feature.
    """
    with torch.autocast(batch.query_mid.device.type, enabled=False):
        query = gram(batch.query_mid[:, :channels], batch.query_valid)
        shots = [
            gram(batch.support_mid[:, shot, :channels], batch.support_valid[:, shot])
            for shot in range(batch.support_mid.shape[1])
        ]
        distances = [torch.linalg.matrix_norm(query - one) / channels for one in shots]
        return torch.stack(distances).mean(0)


def gram(level: Tensor, valid: Tensor) -> Tensor:
    """The cosine of every two channels over the valid tokens, (B, C', C') float32.

    Args:
        level: (B, C', h, w).
        valid: (B, h, w) bool.
    """
    channels = F.normalize((level.float() * valid[:, None]).flatten(2), dim=2, eps=_NORM)
    return torch.bmm(channels, channels.transpose(1, 2))
