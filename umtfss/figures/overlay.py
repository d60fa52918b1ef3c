"""Outlines of masks on an image.

Shapes: H W pixels.
"""

import numpy as np
from scipy.ndimage import binary_erosion

PREDICTED, TRUE = (1.0, 0.15, 0.2), (0.15, 0.85, 0.3)


def overlay(image: np.ndarray, mask: np.ndarray, colour: tuple[float, float, float]) -> np.ndarray:
    """The image in grey, its foreground in its own colours with a border, (H, W, 3) in [0, 1].

    Grey and not a tint alone: a tint is lost on what has its colour. Ignored pixels are grey too.
    """
    foreground = mask == 1
    picture = image.astype(np.float32) / 255
    grey = picture.mean(2, keepdims=True)
    picture = np.where(foreground[..., None], 0.75 * picture, 0.15 + 0.55 * grey)
    picture[foreground] += 0.25 * np.array(colour, np.float32)
    width = max(1, round(max(mask.shape) / 150))  # visible in a small print of a large photo
    inner = binary_erosion(foreground, iterations=width, border_value=1)
    picture[foreground & ~inner] = colour
    return picture
