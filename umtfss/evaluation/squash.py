"""The protocol `squash400`: images and labels squashed to a square, counted there.

HSNet (arXiv:2104.01538) tests so: image and label become 400 x 400 px, whatever their aspect. Here
the backbone sees each image at the valid side closest to that (406 px for patches of 14 px), once
resampled; labels, counts and predictions have exactly 400 x 400 px.

Shapes: H W original pixels, P side seen by the backbone, S = 400.
"""

import numpy as np
from torch import Tensor

from umtfss.backbones.extractor import Extractor, resize_image
from umtfss.episodes.live import LiveFeatures
from umtfss.episodes.loader import ImageSource, LabelledImages

SIDE = 400


def squash_label(label: np.ndarray, side: int = SIDE) -> np.ndarray:
    """The label at (S, S), nearest as in HSNet: row i is row floor(i H / S) of the label."""
    rows, columns = (np.arange(side) * pixels // side for pixels in label.shape)
    return label[rows[:, None], columns]


class SquashedImages:
    """Images and labels of a catalog, all of S x S px.

    Args:
        catalog: Images and labels by qualified image id.
    """

    def __init__(self, catalog: LabelledImages) -> None:
        self.catalog = catalog

    def image(self, qualified: str) -> np.ndarray:
        """The squashed image, (S, S, 3) uint8 RGB."""
        pixels = resize_image(self.catalog.image(qualified), (SIDE, SIDE))
        return pixels.permute(1, 2, 0).numpy()

    def mask(self, qualified: str) -> np.ndarray:
        """The class of every pixel, (S, S) uint8; 255 is ignored."""
        return squash_label(self.catalog.mask(qualified))


class SquashedFeatures(LiveFeatures):
    """Features of squashed images, computed when they are read.

    Args:
        extractor: The backbone.
        catalog: Original images by qualified id.
    """

    def __init__(self, extractor: Extractor, catalog: ImageSource) -> None:
        super().__init__(extractor, catalog, extractor.facts.nearest_side(SIDE))

    def image_size(self, image_id: str) -> tuple[int, int]:
        """(S, S): the size at which the image is counted."""
        return SIDE, SIDE

    def _pixels(self, image: np.ndarray) -> Tensor:
        """The image as the backbone sees it, (3, P, P) float32 in [0, 1]."""
        return resize_image(image, (self.long_side, self.long_side)).float() / 255
