"""What is asked of images without labels."""

from typing import Protocol

import numpy as np


class ImageSource(Protocol):
    """What is asked of images without labels; a `Catalog` has it, and so has a data set."""

    def image(self, image_id: str, /) -> np.ndarray:
        """The image, (H, W, 3) uint8 RGB."""
