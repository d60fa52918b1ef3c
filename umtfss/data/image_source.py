"""The interface of images without labels."""

from typing import Protocol

import numpy as np


class ImageSource(Protocol):
    """Images by id; `Catalog` and every data set implement it."""

    def image(self, image_id: str, /) -> np.ndarray:
        """The image, (H, W, 3) uint8 RGB."""
