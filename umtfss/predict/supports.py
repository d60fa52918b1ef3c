"""The photos that show objects, and their masks: arrays, or files that are paired by name.

Shapes: H W pixels.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from umtfss.common.errors import DataError
from umtfss.data.images import IGNORE, read_image, read_object_mask
from umtfss.data.pairs import pairs

DEFAULT_NAME = "object"
OBJECT = 1  # value of the object in a mask that `checked_mask` returns
Picture = np.ndarray | str | Path


class Support(NamedTuple):
    """A photo that shows an object.

    Attributes:
        image: The photo.
        mask: The mask of the object.
        name: Name of the object.
    """

    image: Path
    mask: Path
    name: str


def read_photo(photo: Picture) -> np.ndarray:
    """The photo, (H, W, 3) uint8 RGB; a file is turned upright as its EXIF orientation says.

    Raises:
        DataError: The file cannot be read, or the array is no colour image.
    """
    if not isinstance(photo, np.ndarray):
        return read_image(Path(photo), upright=True)
    if photo.ndim != 3 or photo.shape[2] != 3 or photo.dtype != np.uint8:
        raise DataError(
            "an array is no photo",
            expected="shape (H, W, 3), dtype uint8, RGB",
            found=f"shape {photo.shape}, dtype {photo.dtype}",
            fix="convert it, e.g. with np.array(PIL.Image.open(path).convert('RGB'))",
        )
    return photo


def read_support_mask(mask: Picture, photo: Picture, value: int | None = None) -> np.ndarray:
    """The mask of an object on its photo, (H, W) uint8: 1 object, 0 background, 255 ignored.

    Args:
        mask: A file, or an array (H, W).
        photo: The photo that the mask belongs to.
        value: The object's value in the mask, 255 is ignored then; None: every value but 0.

    Raises:
        DataError: The mask cannot be read, has another size than the photo, or is empty or full.
    """
    if isinstance(mask, np.ndarray):
        name = "an array"
        found = (mask != 0 if value is None else mask == value).astype(np.uint8)
        if value is not None:
            found[(mask == IGNORE) & (value != IGNORE)] = IGNORE
    else:
        name = str(mask)
        found = read_object_mask(Path(mask), value)
    _check_mask(found, f"the mask {name}", photo, value)
    return found


def _check_mask(mask: np.ndarray, name: str, photo: Picture, value: int | None) -> None:
    size = read_photo(photo).shape[:2]
    if mask.shape != size:
        turned = mask.shape[::-1] == size
        of = "its photo" if isinstance(photo, np.ndarray) else f"its photo {photo}"
        raise DataError(
            f"{name} does not fit {of}",
            expected=f"{size[1]} x {size[0]} px, width x height of the upright photo",
            found=" x ".join(map(str, mask.shape[::-1])) + " px",
            fix="turn the mask as the photo is shown" if turned else "draw it on this photo",
        )
    part, rest = (float((mask == one).mean()) for one in (OBJECT, 0))
    if not part or not rest:
        raise DataError(
            f"{name} shows {'no background' if part else 'no object'}",
            expected="black background, and an object of another value on a part of the photo",
            found=f"{100 * part:.0f} % object, {100 * rest:.0f} % background"
            + ("" if value is None else f", which has the value {value}"),
            fix="draw the object in white on black, or name its value with --mask-value",
        )


def find_supports(folder: Path) -> list[Support]:
    """The photos and masks below a folder that has a sub-folder for each object.

    A photo's mask lies beside it: `a.png` of `a.jpg`, or `a-mask.png` or `a_mask.png`. A folder
    without sub-folders is one object. Hidden files are left out.

    Raises:
        DataError: The folder is missing or empty, or a photo has no mask or several, or a mask has
            no photo.
    """
    if not folder.is_dir():
        raise DataError(
            f"{folder} is no folder of supports",
            expected="a sub-folder for each object, with photos and their masks",
            fix="correct --supports",
        )
    shown = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    folders = [path for path in shown if path.is_dir()] or [folder]
    supports, problems = [], []
    for own in folders:
        found, wrong = pairs(own)
        supports += [Support(*pair, own.resolve().name) for pair in found]
        problems += wrong
        if not found and not wrong:
            problems.append(f"{own} holds no photo")
    if problems:
        raise DataError(
            f"photos and masks below {folder} do not go together:\n    " + "\n    ".join(problems),
            expected="each photo with one mask beside it: a.png of a.jpg, or a-mask.png",
            fix="rename, add or remove files",
        )
    return supports


def named_supports(
    folder: Path | None, images: Sequence[Path], masks: Sequence[Path]
) -> list[Support]:
    """The supports in a folder, or photos and masks of one object without a name.

    Raises:
        DataError: Both or neither is given, or photos and masks do not go together.
    """
    if (folder is not None) == bool(images or masks):
        raise DataError(
            "it is not clear which photos show the objects",
            expected="--supports FOLDER, or a --support-image and a --support-mask for each shot",
            found="both" if images or masks else "neither",
            fix="give one of them",
        )
    if folder is not None:
        return find_supports(folder)
    check_fit(images, masks, [DEFAULT_NAME] * len(images))
    return [Support(*pair, DEFAULT_NAME) for pair in zip(images, masks, strict=True)]


def check_supports(supports: Sequence[Support], value: int | None) -> None:
    """Check the files of supports, before anything is computed.

    Raises:
        DataError: A photo or mask cannot be used.
    """
    for one in supports:
        read_support_mask(one.mask, one.image, value)


def check_lists(**given: object) -> None:
    """Check that none of the lists is a single file.

    Raises:
        DataError: One is.
    """
    for name, one in given.items():
        if isinstance(one, str | Path):
            raise DataError(
                f"{name} is one file", expected="a list of files", fix=f"[{str(one)!r}]"
            )


def check_fit(images: Sequence[Picture], masks: Sequence[Picture], names: Sequence[str]) -> None:
    """Check that photos, masks and names of objects go together.

    Raises:
        DataError: Their numbers differ, there are none, or a file shows an object twice.
    """
    if not images or not len(images) == len(masks) == len(names):
        raise DataError(
            "support photos and masks do not go together",
            expected="one photo or more, each with its mask and the name of its object",
            found=f"{len(images)} photos, {len(masks)} masks, {len(names)} names",
            fix="add what is missing",
        )
    shown = [(str(i), n) for i, n in zip(images, names, strict=True) if isinstance(i, str | Path)]
    if twice := sorted({one for one in shown if shown.count(one) > 1}):
        raise DataError(
            "the support photos cannot be used",
            expected="photos of an object, each once",
            found=f"{twice[0][0]} twice",
            fix="leave one out",
        )
