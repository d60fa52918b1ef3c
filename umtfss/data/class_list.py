"""The classes of a data set of one's own, and its folds, read from its folder.

The plan reads this, so it needs no image library.
"""

from dataclasses import dataclass
from pathlib import Path

from umtfss.common.errors import DataError
from umtfss.experiment.block import FOLDS

CLASSES, FOLD_LIST, IMAGES = "classes.txt", "folds.txt", "images"
MOST_CLASSES = 254  # a mask is 8 bits, 0 is background and 255 ignored


@dataclass(frozen=True)
class ClassList:
    """The classes of a data set.

    Attributes:
        names: Names of the classes; the first has id 1.
        folds: Class ids of every fold; each class is in one fold.
    """

    names: tuple[str, ...]
    folds: tuple[tuple[int, ...], ...]


def read_class_list(root: Path) -> ClassList:
    """The classes and folds of the data set in a folder (see `umtfss/data/masks_folder.py`).

    Classes are the lines of `classes.txt`, else the sub-folders. Folds are the lines of
    `folds.txt`, names separated by commas; else class i is in fold i modulo 4.

    Raises:
        DataError: The folder or the list is missing, or names are repeated or unknown.
    """
    path = root / CLASSES
    if not root.is_dir():
        raise DataError(
            f"there is no folder {root}",
            expected="the folder of the data set",
            fix="call this in the project's folder, set UMTFSS_DATA_ROOT to the folder that holds "
            "your data sets, or correct the experiment",
        )
    if path.is_file():
        names = _lines(path)
    elif root.is_dir() and not (root / IMAGES).is_dir():
        names = sorted(one.name for one in root.iterdir() if one.is_dir() and one.name[0] != ".")
    else:
        names = []
    fix = f"write {path}, a name a line in the order of the values in masks, or use sub-folders"
    return checked_classes(root, names, fix)


def checked_classes(root: Path, names: list[str], fix: str) -> ClassList:
    """The classes of a folder with their folds.

    Args:
        root: The folder.
        names: Names of the classes.
        fix: What to do if the names cannot be used.

    Raises:
        DataError: There are too few or too many names, or one is repeated, or folds are wrong.
    """
    if len(names) < 2 or len(names) > MOST_CLASSES or len(set(names)) < len(names):
        raise DataError(
            f"{root} does not say its classes",
            expected=f"2 to {MOST_CLASSES} distinct names",
            found=", ".join(names[:10]) or "none",
            fix=fix,
        )
    return ClassList(tuple(names), _folds(root / FOLD_LIST, names))


def _folds(path: Path, names: list[str]) -> tuple[tuple[int, ...], ...]:
    if not path.is_file():
        count = min(len(FOLDS), len(names))
        return tuple(tuple(range(fold + 1, len(names) + 1, count)) for fold in range(count))
    folds = [[name.strip() for name in line.split(",")] for line in _lines(path)]
    listed = [name for fold in folds for name in fold]
    if sorted(listed) != sorted(names) or not 2 <= len(folds) <= len(FOLDS):
        odd = sorted({*listed} ^ {*names}) or sorted({n for n in listed if listed.count(n) > 1})
        raise DataError(
            f"{path} does not say the folds",
            expected=f"2 to {len(FOLDS)} lines of names separated by commas, each class once",
            found=f"{len(folds)} lines" + (f"; missing, unknown or twice: {odd}" if odd else ""),
            fix=f"correct it, or delete it: class i of {CLASSES} is then in fold i modulo 4",
        )
    return tuple(tuple(sorted(names.index(name) + 1 for name in fold)) for fold in folds)


def _lines(path: Path) -> list[str]:
    """The lines of a list that are not empty."""
    return [line.strip() for line in path.read_text().splitlines() if line.strip()]
