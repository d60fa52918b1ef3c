"""The object of every pixel, from what is found of each object.

Shapes: C objects, H W pixels, h w feature grid.
"""

from collections.abc import Sequence

import numpy as np
import torch
from skimage import measure
from torch.nn import functional as nnf


def labels_of(cosines: np.ndarray, found: np.ndarray, least: float) -> np.ndarray:
    """The most similar object of every pixel, (H, W) uint8: 0 none, i object i - 1.

    Objects compete by their cosines, because a model's score is relative to the background of the
    object's own supports. Specks, connected regions of less than `least` pixels, go to the next
    object that is found there, or to none.

    Args:
        cosines: (C, H, W), similarity of the pixel to the object.
        found: (C, H, W) bool, whether the object is found there.
        least: Pixels of a region; regions are connected over the sides of pixels.
    """
    left = np.where(found, cosines, -np.inf)
    while True:
        labels = np.where(left.max(0) > -np.inf, left.argmax(0) + 1, 0).astype(np.uint8)
        regions = measure.label(labels, connectivity=1)
        specks = (np.bincount(regions.ravel()) < least)[regions] & (labels > 0)
        if not specks.any():
            return labels
        left[labels[specks] - 1, *np.nonzero(specks)] = -np.inf


def enlarged(maps: np.ndarray, size: Sequence[int], align_corners: bool) -> np.ndarray:
    """Maps (C, h, w) at a photo's size, (C, H, W) float32."""
    batch = torch.from_numpy(np.ascontiguousarray(maps))[None]
    return nnf.interpolate(batch, tuple(size), mode="bilinear", align_corners=align_corners)[
        0
    ].numpy()
