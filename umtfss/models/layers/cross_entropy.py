"""The cross-entropy of pixels.

Shapes: B batch, h w feature grid, S S target grid.
"""

import torch.nn.functional as F
from torch import Tensor

from umtfss.models.layers.dice import IGNORE


def cross_entropy_loss(logits: Tensor, target: Tensor, align_corners: bool) -> Tensor:
    """The mean cross-entropy over pixels other than 255, a scalar; 0 if there are none.

    The cross-entropy of two classes depends on the difference of the logits alone, and upsampling
    is linear. So only the difference is upsampled, which is half the work.

    Args:
        logits: (B, 2, h, w), background then foreground.
        target: (B, S, S) int64 in {0, 1, 255}.
        align_corners: How the feature grid maps to pixels.
    """
    difference = logits[:, 1:].float() - logits[:, :1].float()
    difference = F.interpolate(
        difference, target.shape[-2:], mode="bilinear", align_corners=align_corners
    )[:, 0]
    foreground = (target == 1).to(difference.dtype)
    counted = (target != IGNORE).to(difference.dtype)
    total = F.binary_cross_entropy_with_logits(difference, foreground, counted, reduction="sum")
    return total / counted.sum().clamp(min=1)
