"""Decoding of image and mask files, with errors that name the file.

Shapes: H W pixels.
"""

from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from umtfss.errors import DataError


def read_image(path: Path, *, upright: bool = False) -> np.ndarray:
    """The image, (H, W, 3) uint8 RGB.

    Args:
        path: A file that Pillow reads, 8 bits per channel; grey and palette images become RGB.
        upright: Turn a photo as its EXIF orientation says. Only for images without masks: the
            masks of the public data sets belong to the stored pixels.

    Raises:
        DataError: The file is missing, cut short, or of another depth.
    """
    image = _open(path)
    if image.mode.startswith(("I", "F")):
        raise DataError(
            f"{path} cannot be read as a colour image",
            expected="8 bits per channel",
            found=f"Pillow mode {image.mode}",
            fix="convert it to an 8-bit RGB image",
        )
    if upright:
        image = ImageOps.exif_transpose(image)
    return np.array(image.convert("RGB"))


def read_mask(path: Path) -> np.ndarray:
    """The class ids, (H, W) uint8: the palette's indices, never its colours.

    Raises:
        DataError: The file is missing, cut short, or holds colours.
    """
    image = _open(path)
    if image.mode not in ("P", "L"):
        raise DataError(
            f"{path} is not a mask of class ids",
            expected="a palette or 8-bit grey PNG whose values are class ids",
            found=f"Pillow mode {image.mode}",
            fix="use the label files as published; colours cannot be read as classes",
        )
    return np.array(image)


def _open(path: Path) -> Image.Image:
    if not path.is_file():
        raise DataError(f"{path} does not exist", fix="restore the file or correct the list")
    try:
        with Image.open(path) as image:
            image.load()
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DataError(
            f"{path} cannot be decoded ({error})", fix="fetch the file again, it is damaged"
        ) from error
    return image
