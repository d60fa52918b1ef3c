"""Labels that follow the edges of the image: a majority vote in superpixels.

Protocol section 3.5. Shapes: H W pixels, S superpixels, N clusters.
"""

import numpy as np
from skimage.segmentation import felzenszwalb

from umtfss.config import PseudoMasksConfig


def felzenszwalb_superpixels(image: np.ndarray, settings: PseudoMasksConfig) -> np.ndarray:
    """The superpixel of every pixel, (H, W) int64, numbered from 0.

    Felzenszwalb & Huttenlocher, Efficient Graph-Based Image Segmentation, IJCV 2004.

    Args:
        image: (H, W, 3) uint8.
        settings: Scale, smoothing and smallest size.
    """
    return felzenszwalb(
        image,
        scale=settings.scale,
        sigma=settings.sigma,
        min_size=settings.min_size,
        channel_axis=-1,
    )


def majority_vote(labels: np.ndarray, superpixels: np.ndarray) -> np.ndarray:
    """The most common label of each pixel's superpixel, (H, W) uint8; ties go to the lowest.

    Args:
        labels: (H, W) uint8.
        superpixels: (H, W) int, numbered from 0.
    """
    clusters = int(labels.max()) + 1
    votes = np.bincount(
        (superpixels * clusters + labels).ravel(),
        minlength=(int(superpixels.max()) + 1) * clusters,
    )
    return votes.reshape(-1, clusters).argmax(1).astype(np.uint8)[superpixels]
