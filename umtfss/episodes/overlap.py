"""Overlap of predicted and true masks: the counts behind every IoU.

Shapes: ... any leading axes, H W pixels or tokens.
"""

from typing import TypeVar

import numpy as np
from torch import Tensor

from umtfss.data.images import IGNORE

Mask = TypeVar("Mask", np.ndarray, Tensor)


def foreground_overlap(predicted: Mask, label: Mask) -> tuple[Mask, Mask]:
    """Intersection and union of the foreground, (...) integers each; label 255 is ignored.

    Args:
        predicted: (..., H, W) bool.
        label: (..., H, W) in {0, 1, 255}.
    """
    predicted, true = predicted & (label != IGNORE), label == 1
    return (predicted & true).sum((-2, -1)), (predicted | true).sum((-2, -1))
