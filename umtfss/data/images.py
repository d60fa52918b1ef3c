"""Decoding of image and mask files, with errors that name the file.

Shapes: H W pixels.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from umtfss.common.errors import DataError

logger = logging.getLogger(__name__)
IGNORE = 255
NAME_VALUE = "--mask-value of `predict`, mask_value of `Segmenter.fit`"  # for messages
MOST_LABELS = 16  # grey values or colours in a user's mask of several objects
ORIENTATION = 0x112  # EXIF tag
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def read_image(path: Path, *, upright: bool = False) -> np.ndarray:
    """The image, (H, W, 3) uint8 RGB.

    Args:
        path: A file that Pillow reads, 8 bits per channel; grey and palette images become RGB.
        upright: Turn a photo as its EXIF orientation says; for images without masks only, because
            the masks of the public data sets belong to the stored pixels.

    Raises:
        DataError: The file is missing, cannot be decoded, or is of another depth.
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
        image = _turned(image, path)
    with decoding(path):
        return np.array(image.convert("RGB"))


def read_mask(path: Path) -> np.ndarray:
    """The class ids, (H, W) uint8: the palette's indices, never its colours.

    Raises:
        DataError: The file is missing, cannot be decoded, or holds colours.
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

    Without `value`, every pixel that is not black is the object, of however many grey values or
    colours it is made. A mask with soft edges or compression noise is cut at half its brightest
    value, with a warning.

    Args:
        path: A picture; transparent pixels count as black.
        value: The object's value in a palette or grey mask; 255 is ignored then.

    Raises:
        DataError: The file is missing or cannot be decoded; or `value` is given, and the file is a
            JPEG or has colours; or no `value` is given, and the palette does not begin with black
            or the picture has no dark background.
    """
    image = _open(path)
    if value is not None:
        if image.format == "JPEG":
            raise DataError(
                f"{path} cannot be used as a mask of values",
                expected="a lossless picture, e.g. PNG",
                found="a JPEG, whose values are not those that were saved",
                fix="save the mask as PNG",
            )
        labels = read_mask(path)
        mask = (labels == value).astype(np.uint8)
        mask[(labels == IGNORE) & (value != IGNORE)] = IGNORE
        return mask
    with decoding(path):
        brightness = _brightness(image)
    if image.mode != "P":
        return _lit(brightness, path).astype(np.uint8)
    if any((image.getpalette() or [0])[:3]):
        raise DataError(
            f"{path} cannot be used as a mask",
            expected="a palette whose first colour, the background, is black",
            found=f"RGB {(image.getpalette() or [])[:3]}",
            fix=f"save black and white, or name the object's value, {NAME_VALUE}",
        )
    if not _is_label_map(brightness):  # a grey picture that was saved with a palette
        return _lit(brightness, path).astype(np.uint8)
    opaque = np.array(image.convert("RGBA"))[..., 3] > 0
    return ((np.array(image) != 0) & opaque).astype(np.uint8)


def _brightness(image: Image.Image) -> np.ndarray:
    """The brightest channel of every pixel on a black ground, (H, W) float32."""
    if image.mode in ("1", "L", "I", "I;16", "I;16B", "F") and "transparency" not in image.info:
        return np.array(image, np.float32)
    colours = np.array(image.convert("RGBA"), np.float32)
    return colours[..., :3].max(2) * colours[..., 3] / 255


def _lit(brightness: np.ndarray, path: Path) -> np.ndarray:
    """Where a mask shows the object, (H, W) bool."""
    if _is_label_map(brightness):
        return brightness > 0
    half = brightness.max() / 2
    mask = brightness >= half
    between = (brightness > half / 2) & (brightness < 1.5 * half)
    if not np.isfinite(half) or between.sum() > mask.sum() / 4:
        raise DataError(
            f"{path} cannot be used as a mask",
            expected="black where the object is not, and the object in a bright value",
            found=f"{len(np.unique(brightness))} values, many of them neither dark nor bright",
            fix="draw the object in white on black; is this the photo in place of its mask?",
        )
    _warn_once(
        f"{path} has soft edges or compression noise ({len(np.unique(brightness))} values): it is "
        f"cut at half its brightest value, and {100 * mask.mean():.1f} % of it is object"
    )
    return mask


def _is_label_map(brightness: np.ndarray) -> bool:
    """Whether the dark values of a mask are objects of their own, not edges or noise.

    Objects are areas of one value, in which a pixel has its neighbours' value.
    """
    dark = (brightness > 0) & (brightness < brightness.max() / 2)
    if not dark.any():
        return bool(np.isfinite(brightness).all())
    flat = np.zeros_like(dark)
    inner = brightness[:-1, :-1]
    flat[:-1, :-1] = (inner == brightness[1:, :-1]) & (inner == brightness[:-1, 1:])
    few = len(np.unique(brightness)) <= MOST_LABELS
    return bool(few and flat[dark].mean() > 0.5)


@cache
def _warn_once(message: str) -> None:
    """Log a warning; a support's mask is read for every query."""
    logger.warning("%s", message)


def _turned(image: Image.Image, path: Path) -> Image.Image:
    """The photo upright. Of its EXIF data, only the orientation is read, and nothing is written."""
    try:
        orientation = image.getexif().get(ORIENTATION)
    except Exception as error:  # EXIF data are damaged in many ways
        logger.warning("%s stays as stored: its EXIF data cannot be read (%s)", path, error)
        return image
    return image.transpose(TURNS[orientation]) if orientation in TURNS else image


def _open(path: Path) -> Image.Image:
    with decoding(path):
        if not path.is_file():
            problem = "is a folder" if path.is_dir() else "does not exist"
            if path.is_symlink():
                problem = "is a link to nothing"
            raise DataError(
                f"{path} {problem}", expected="a picture", fix="correct or restore the path"
            )
        with Image.open(path) as image:
            image.load()
    return image


@contextmanager
def decoding(path: Path) -> Iterator[None]:
    """A context for decoding `path`: an error of any library becomes a `DataError` with a remedy.

    Raises:
        DataError: The file cannot be decoded.
    """
    try:
        yield
    except DataError:
        raise
    except Exception as error:  # decoders raise errors of every kind
        kind = "" if isinstance(error, OSError | ValueError) else f"{type(error).__name__}: "
        raise DataError(
            f"{path} cannot be decoded ({kind}{error})", fix=_remedy(path, error)
        ) from error


def _remedy(path: Path, error: Exception) -> str:
    """What a user can do about a file that cannot be decoded."""
    if isinstance(error, PermissionError):
        return "make the file and its folders readable for this account"
    if isinstance(error, Image.DecompressionBombError):
        most = 2 * (Image.MAX_IMAGE_PIXELS or 0) // 10**6
        return f"shrink it to less than {most} million px, e.g. mogrify -resize 4000x4000"
    if isinstance(error, MemoryError):
        return "shrink it, or free some memory"
    if isinstance(error, ValueError) and "text" in str(error).lower():
        return "save it without its comments, e.g. mogrify -strip"
    if isinstance(error, UnidentifiedImageError):
        if path.suffix.lower() == ".json":
            return "give a picture: LabelMe's labelme_export_json draws one from its file"
        return "save it as PNG or JPEG if it is of another kind; else fetch it again"
    return "fetch the file again, it is damaged"
