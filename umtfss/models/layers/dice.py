"""The dice loss.

Shapes: B batch, h w feature grid, S S target grid.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from umtfss.data.images import IGNORE

_SMALLEST = 1e-8  # least denominator; the denominator is 0 only if all probabilities are 0


def dice_loss(logits: Tensor, target: Tensor, ignore: bool, align_corners: bool) -> Tensor:
    """The sigmoid dice loss (arXiv:1606.04797), summed over both channels, mean over the batch.

    The loss of a channel, background or foreground, is 1 - 2 sum(p t) / (sum(p^2) + sum(t^2)) with
    sums over the whole target grid. A pixel of label 255 has t = 0 in both channels.

    Args:
        logits: (B, 2, h, w), background then foreground.
        target: (B, S, S) int64 in {0, 1, 255}.
        ignore: Whether predictions at label 255 are left out. If not, they stay in the denominator,
            as in the releases of UMTFSS and CyCTR.
        align_corners: How the feature grid maps to pixels.
    """
    logits = F.interpolate(
        logits.float(), target.shape[-2:], mode="bilinear", align_corners=align_corners
    )
    probability = logits.sigmoid().flatten(2)
    target = target.flatten(1)
    truth = torch.stack([target == 0, target == 1], 1).float()
    overlap = (probability * truth).sum(2)
    square = probability.square()
    if ignore:
        square = square * (target != IGNORE)[:, None]
    dice = 2 * overlap / (square.sum(2) + truth.sum(2)).clamp(min=_SMALLEST)
    return (1 - dice).sum(1).mean()
