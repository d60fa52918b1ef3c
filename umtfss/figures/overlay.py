"""Outlines of masks on an image.

Shapes: H W pixels.
"""

from collections.abc import Sequence

import numpy as np
from scipy.ndimage import binary_erosion

from umtfss.data.images import IGNORE

STRIPE = 0.95  # grey value of the stripes of ignored pixels
Colour = tuple[float, float, float]  # RGB in [0, 1]
# Okabe and Ito's palette without black, told apart by the colour-blind.
PREDICTED, TRUE = (0.84, 0.37, 0.0), (0.34, 0.71, 0.91)  # vermilion, sky blue
OBJECT_COLOURS: tuple[Colour, ...] = (
    (0.84, 0.37, 0.0), (0.0, 0.45, 0.7), (0.0, 0.62, 0.45), (0.95, 0.9, 0.25),
    (0.8, 0.47, 0.65), (0.34, 0.71, 0.91), (0.9, 0.62, 0.0),
)  # fmt: skip


def overlay(image: np.ndarray, mask: np.ndarray, colour: Colour) -> np.ndarray:
    """The image in grey, with the foreground in colour and a border, (H, W, 3) in [0, 1].

    Args:
        image: (H, W, 3) uint8.
        mask: (H, W) in {0, 1, 255}; ignored pixels are striped.
        colour: Colour of the border.
    """
    picture = overlay_labels(image, mask == 1, [colour])
    rows, columns = np.indices(mask.shape)
    width = max(1, round(max(mask.shape) / 150))
    picture[(mask == IGNORE) & ((rows + columns) // width % 2 == 0)] = STRIPE
    return picture


def framed(picture: np.ndarray, tall: float, ground: float = 0.93) -> np.ndarray:
    """The picture in the middle of a ground of one value, so that all pictures have one shape.

    Args:
        picture: (H, W) or (H, W, 3).
        tall: Height over width of the result.
        ground: Value of the ground.
    """
    height, width = picture.shape[:2]
    size = max(height, round(width * tall)), max(width, round(height / tall))
    result = np.full((*size, *picture.shape[2:]), ground, picture.dtype)
    top, left = (size[0] - height) // 2, (size[1] - width) // 2
    result[top : top + height, left : left + width] = picture
    return result


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
