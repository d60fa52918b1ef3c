"""The photos that show objects, and their masks: arrays, or files that are paired by name.

Shapes: H W pixels.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from umtfss.common.errors import DataError
from umtfss.data.images import IGNORE, NAME_VALUE, read_image, read_object_mask
from umtfss.data.pairs import pairs

DEFAULT_NAME = "object"
OBJECT = 1  # value of the object in a mask that `checked_mask` returns
AXES = {"images": 4, "masks": 3, "names": 1}  # of an array in place of a list
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


def read_photo(photo: Picture, argument: str = "photo") -> np.ndarray:
    """The photo, (H, W, 3) uint8 RGB; a file is turned upright as its EXIF orientation says.

    Args:
        photo: A file, or an array.
        argument: What was given the photo, e.g. "images[1]"; for messages.

    Raises:
        DataError: The file cannot be read, or the array is no colour image.
    """
    if isinstance(photo, str | Path):
        return read_image(Path(photo), upright=True)
    if _axes(photo) != 3 or photo.shape[2] != 3 or photo.dtype != np.uint8:
        raise DataError(
            f"{argument} cannot be read as a colour image",
            expected="a path, or an array of shape (H, W, 3), dtype uint8, RGB",
            found=_kind(photo),
            fix="convert it, e.g. with np.array(PIL.Image.open(path).convert('RGB'))",
        )
    return photo


def read_support_mask(
    mask: Picture, photo: Picture, value: int | None = None, number: int = 0
) -> np.ndarray:
    """The mask of an object on its photo, (H, W) uint8: 1 object, 0 background, 255 ignored.

    Args:
        mask: A file, or an array (H, W).
        photo: The photo that the mask belongs to.
        value: The object's value in the mask, 255 is ignored then; None: every value but 0.
        number: The place of both in `images` and `masks`; for messages about arrays.

    Raises:
        DataError: The mask cannot be read, has another size than the photo, or is empty or full.
    """
    of = photo if isinstance(photo, str | Path) else f"images[{number}]"
    size = read_photo(photo, f"images[{number}]").shape[:2]
    if isinstance(mask, str | Path):
        name = f"the mask {mask}"
        found = read_object_mask(Path(mask), value)
    elif _axes(mask) != 2:
        raise DataError(
            f"masks[{number}] cannot be read as a mask",
            expected=f"a path, or an array of the shape {size} of {of}",
            found=_kind(mask),
            fix="convert it to an array of one channel, e.g. with np.array",
        )
    else:
        name = f"masks[{number}]"
        found = (mask != 0 if value is None else mask == value).astype(np.uint8)
        if value is not None:
            found[(mask == IGNORE) & (value != IGNORE)] = IGNORE
    _check_size(found, size, name, f"its photo {of}")
    _check_parts(found, name, value)
    return found


def _axes(one: object) -> int:
    """The number of an array's axes; 0: it is none."""
    return one.ndim if isinstance(one, np.ndarray) else 0


def _kind(one: object) -> str:
    """What was given, for messages."""
    if isinstance(one, np.ndarray):
        return f"an array of shape {one.shape}, dtype {one.dtype}"
    return f"{type(one).__module__}.{type(one).__qualname__}"


def _check_size(mask: np.ndarray, size: tuple[int, ...], name: str, photo: str) -> None:
    if mask.shape != size:
        turned = mask.shape[::-1] == size
        raise DataError(
            f"{name} does not fit {photo}",
            expected=f"{size[1]} x {size[0]} px, width x height of the upright photo",
            found=" x ".join(map(str, mask.shape[::-1])) + " px",
            fix="turn the mask as the photo is shown" if turned else "draw it on this photo",
        )


def _check_parts(mask: np.ndarray, name: str, value: int | None) -> None:
    part, rest = (float((mask == one).mean()) for one in (OBJECT, 0))
    if not part or not rest:
        raise DataError(
            f"{name} shows {'no background' if part else 'no object'}",
            expected="black (0) background, and an object of another value on a part of the photo",
            found=f"{100 * part:.0f} % object, {100 * rest:.0f} % background"
            + ("" if value is None else f", which has the value {value}"),
            fix=f"draw the object in white on black, or name its value, {NAME_VALUE}",
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
    check_fit(images, masks)
    return [Support(*pair, DEFAULT_NAME) for pair in zip(images, masks, strict=True)]


def check_supports(supports: Sequence[Support], value: int | None) -> None:
    """Check the files of supports, before anything is computed.

    Raises:
        DataError: A photo or mask cannot be used.
    """
    for one in supports:
        read_support_mask(one.mask, one.image, value)


def check_lists(**given: object) -> None:
    """Check that none of the arguments `images`, `masks` and `names` is a single one.

    Raises:
        DataError: One is.
    """
    for name, one in given.items():
        if one is None:
            continue
        is_single = 0 < _axes(one) < AXES[name]
        if is_single or isinstance(one, str | Path) or not hasattr(one, "__len__"):
            raise DataError(
                f"{name} is no list",
                expected=f"a list of {name}",
                found=repr(str(one)) if isinstance(one, str | Path) else _kind(one),
                fix="put it in a list, also if it is the only one",
            )


def check_fit(
    images: Sequence[Picture], masks: Sequence[Picture], names: Sequence[str] | None = None
) -> None:
    """Check that images, masks and names of objects go together.

    Raises:
        DataError: Their numbers differ, there are none, or a file shows an object twice.
    """
    counts = {"images": len(images), "masks": len(masks)}
    if names is not None:
        counts["names"] = len(names)
    if len(set(counts.values())) > 1 or not len(images):
        what = "images and masks" if names is None else "images, masks and names"
        raise DataError(
            f"{what} do not go together",
            expected="an image or more, each with a mask" + " and a name" * (names is not None),
            found=", ".join(f"{count} {name}" for name, count in counts.items()),
            fix="add what is missing",
        )
    names = [DEFAULT_NAME] * len(images) if names is None else names
    shown = [(str(i), n) for i, n in zip(images, names, strict=True) if isinstance(i, str | Path)]
    if twice := sorted({one for one in shown if shown.count(one) > 1}):
        raise DataError(
            "the support photos cannot be used",
            expected="photos of an object, each once",
            found=f"{twice[0][0]} twice",
            fix="leave one out",
        )
