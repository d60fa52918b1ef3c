"""The dice loss.

Shapes: B batch, h w feature grid, S S target grid.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from umtfss.data.images import IGNORE

_SMOOTH = 1.0  # px; keeps the loss of a channel without target finite


def dice_loss(logits: Tensor, target: Tensor, ignore: bool, align_corners: bool) -> Tensor:
    """The sigmoid dice loss (arXiv 1606.04797), summed over both channels, mean over the batch.

    1 - 2 sum(p t) / (sum(p^2) + sum(t^2)) of the background channel and of the foreground
    channel, each over the whole target grid.

    Args:
        logits: (B, 2, h, w), background then foreground.
        target: (B, S, S) int64 in {0, 1, 255}.
        ignore: Whether label 255 is left out; otherwise it counts as background.
        align_corners: How the feature grid maps to pixels.
    """
    logits = F.interpolate(
        logits.float(), target.shape[-2:], mode="bilinear", align_corners=align_corners
    )
    probability = logits.sigmoid().flatten(2)
    target = target.flatten(1)
    foreground = target == 1
    counted = target != IGNORE if ignore else torch.ones_like(foreground)
    truth = torch.stack([counted & ~foreground, foreground], 1).float()
    overlap = (probability * truth).sum(2)
    area = (probability.square() * counted[:, None]).sum(2) + truth.sum(2)
    dice = (2 * overlap + _SMOOTH) / (area + _SMOOTH)
    return (1 - dice).sum(1).mean()
