"""Outlines of masks on an image.

Shapes: H W pixels.
"""

import numpy as np
from scipy.ndimage import binary_erosion

PREDICTED, TRUE = (1.0, 0.15, 0.2), (0.15, 0.85, 0.3)


def overlay(image: np.ndarray, mask: np.ndarray, colour: tuple[float, float, float]) -> np.ndarray:
    """The image in grey, with the foreground in colour and a border, (H, W, 3) in [0, 1].

    A tint alone would be invisible on an object of the same colour, so the rest is grey. Ignored
    pixels are grey, too.

    Args:
        image: (H, W, 3) uint8.
        mask: (H, W) in {0, 1, 255}.
        colour: RGB of the border, in [0, 1].
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
