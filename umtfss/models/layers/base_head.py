"""The base head: every token's class among background and the classes of the training tasks.

Shapes: B batch, C channels of the mid feature, d width, h w feature grid, M classes, S S target.
"""

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from umtfss.common.onednn import accelerate
from umtfss.data.images import IGNORE
from umtfss.models.layers.blocks import projection


class BaseHead(nn.Module):
    """A classifier of tokens on the frozen mid feature.

    RePRI and BAM (arXiv:2012.06166, 2203.07615) train a PSPNet with its backbone on the base
    classes. The backbone is frozen here, so the head is a 1x1 and a 3x3 convolution without batch
    normalisation and without pooled pyramids, whose statistics would include padding.

    The number of classes is that of the last call of `tell_apart`, or of the weights that were
    loaded.

    Args:
        mid_channels: C.
        width: d.
        dropout: Dropout of whole channels before the classifier.
    """

    are_clusters: Tensor  # () bool, a buffer

    def __init__(self, mid_channels: int, width: int, dropout: float) -> None:
        super().__init__()
        self.project = projection(mid_channels, width, 0.0)
        self.hidden = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.dropout = nn.Dropout2d(dropout)
        self.register_load_state_dict_pre_hook(_fit_to_weights)
        self.tell_apart(0, False)

    def tell_apart(self, classes: int, are_clusters: bool) -> None:
        """Start anew with a classifier of `classes` classes and background."""
        self.classifier = nn.Conv2d(self.hidden.out_channels, 1 + classes, 1)
        self.register_buffer("are_clusters", torch.tensor(are_clusters))
        accelerate(self)

    def features(self, mid: Tensor, valid: Tensor) -> Tensor:
        """The features before the classifier, (B, d, h, w); padding is hidden.

        Args:
            mid: (B, C, h, w).
            valid: (B, h, w) bool.
        """
        hidden: Tensor = self.hidden(self.project(mid) * valid[:, None])
        return hidden.relu()

    def forward(self, features: Tensor) -> Tensor:
        """The logits of every token, (B, 1 + M, h, w), background first."""
        logits: Tensor = self.classifier(self.dropout(features))
        return logits


def class_loss(
    logits: Tensor, classes: Tensor, align_corners: bool, label_smoothing: float = 0.0
) -> Tensor:
    """The cross-entropy over classes, a scalar; 0 if every pixel is ignored.

    Args:
        logits: (B, 1 + M, h, w).
        classes: (B, S, S) int64 class map: 0 background, 255 ignored.
        align_corners: How the feature grid maps to pixels.
        label_smoothing: Part of the truth that is spread over all classes.
    """
    large = F.interpolate(
        logits.float(), classes.shape[-2:], mode="bilinear", align_corners=align_corners
    )
    total = F.cross_entropy(
        large, classes, ignore_index=IGNORE, label_smoothing=label_smoothing, reduction="sum"
    )
    return total / (classes != IGNORE).sum().clamp(min=1)


def _fit_to_weights(
    head: nn.Module, state: Mapping[str, Any], prefix: str, *_unused: object
) -> None:
    """Give the head as many classes as the weights that are about to be loaded."""
    assert isinstance(head, BaseHead)
    weight = state.get(f"{prefix}classifier.weight")
    if weight is not None and len(weight) != head.classifier.out_channels:
        device = head.classifier.weight.device
        head.tell_apart(len(weight) - 1, False)
        head.to(device)
