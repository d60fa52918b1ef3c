"""Decoding of image and mask files, with errors that name the file.

Shapes: H W pixels.
"""

from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from umtfss.common.errors import DataError

IGNORE = 255


def read_image(path: Path, *, upright: bool = False) -> np.ndarray:
    """The image, (H, W, 3) uint8 RGB.

    Args:
        path: A file that Pillow reads, 8 bits per channel; grey and palette images become RGB.
        upright: Turn a photo as its EXIF orientation says; for images without masks only, because
            the masks of the public data sets belong to the stored pixels.

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


def read_object_mask(path: Path, value: int | None = None) -> np.ndarray:
    """A user's mask of one object, (H, W) uint8: 1 object, 0 background, 255 ignored.

    White (255) is the object, because drawing programs write black and white. In the data sets,
    255 is ignored.

    Args:
        path: A lossless picture; transparent pixels count as black.
        value: The object's value in a palette or grey mask; 255 is ignored then. None: every pixel
            that is not black is the object.

    Raises:
        DataError: The file is missing, damaged or a JPEG; or `value` is given and the file has
            colours; or no `value` is given and the palette does not begin with black.
    """
    image = _open(path)
    if image.format == "JPEG":
        raise DataError(
            f"{path} cannot be used as a mask",
            expected="a lossless picture, e.g. PNG, black where the object is not",
            found="a JPEG, whose borders are blurred",
            fix="save the mask as PNG",
        )
    if value is not None:
        labels = read_mask(path)
        mask = (labels == value).astype(np.uint8)
        mask[(labels == IGNORE) & (value != IGNORE)] = IGNORE
        return mask
    if image.mode == "P" and any((image.getpalette() or [0])[:3]):
        raise DataError(
            f"{path} cannot be used as a mask",
            expected="a palette whose first colour, the background, is black",
            found=f"RGB {(image.getpalette() or [])[:3]}",
            fix="name the object's place in the palette with --mask-value, or save black and white",
        )
    if image.mode in ("P", "L", "1", "I", "I;16", "F"):  # a palette's index 0 is its background
        return (np.array(image) != 0).astype(np.uint8)
    colours = np.array(image.convert("RGBA"))
    return (colours[..., :3].any(2) & (colours[..., 3] > 0)).astype(np.uint8)


def _open(path: Path) -> Image.Image:
    if not path.is_file():
        problem = "is a folder" if path.is_dir() else "does not exist"
        raise DataError(
            f"{path} {problem}", expected="a picture", fix="correct or restore the path"
        )
    try:
        with Image.open(path) as image:
            image.load()
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DataError(
            f"{path} cannot be decoded ({error})", fix="fetch the file again, it is damaged"
        ) from error
    return image
