"""Outlines of masks on an image.

Shapes: H W pixels.
"""

from collections.abc import Sequence

import numpy as np
from scipy.ndimage import binary_erosion

Colour = tuple[float, float, float]  # RGB in [0, 1]
PREDICTED, TRUE = (1.0, 0.15, 0.2), (0.15, 0.85, 0.3)
# Okabe and Ito's palette without black, told apart by the colour-blind.
OBJECT_COLOURS: tuple[Colour, ...] = (
    (0.84, 0.37, 0.0), (0.0, 0.45, 0.7), (0.0, 0.62, 0.45), (0.95, 0.9, 0.25),
    (0.8, 0.47, 0.65), (0.34, 0.71, 0.91), (0.9, 0.62, 0.0),
)  # fmt: skip


def overlay(image: np.ndarray, mask: np.ndarray, colour: Colour) -> np.ndarray:
    """The image in grey, with the foreground in colour and a border, (H, W, 3) in [0, 1].

    Args:
        image: (H, W, 3) uint8.
        mask: (H, W) in {0, 1, 255}; ignored pixels are grey.
        colour: Colour of the border.
    """
    return overlay_labels(image, mask == 1, [colour])


def overlay_labels(image: np.ndarray, labels: np.ndarray, colours: Sequence[Colour]) -> np.ndarray:
    """The image in grey, with every object in colour and a border, (H, W, 3) in [0, 1].

    A tint alone would be invisible on an object of the same colour, so the rest is grey.

    Args:
        image: (H, W, 3) uint8.
        labels: (H, W) int or bool, 0 none, i the object of colour i - 1.
        colours: Colour of every border.
    """
    picture = image.astype(np.float32) / 255
    grey = picture.mean(2, keepdims=True)
    shown = (labels > 0)[..., None]
    picture = np.where(shown, 0.75 * picture, 0.15 + 0.55 * grey)
    width = max(1, round(max(labels.shape) / 150))  # visible in a small print of a large photo
    for number, colour in enumerate(colours, 1):
        foreground = labels == number
        if foreground.any():
            picture[foreground] += 0.25 * np.array(colour, np.float32)
            inner = binary_erosion(foreground, iterations=width, border_value=1)
            picture[foreground & ~inner] = colour
    return picture
