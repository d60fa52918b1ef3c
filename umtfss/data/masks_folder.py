"""A labelled data set of one's own: a folder of images and masks, in either of two layouts.

* `classes.txt`, `images/` and `masks/`: the mask of `images/deep/a.jpg` is `masks/deep/a.png`, a
  palette or 8-bit grey PNG. Value i is line i of `classes.txt`, 0 is background, 255 ignored.
* a folder for each class, e.g. `cow/a.jpg` with `cow/a.png` or `cow/a-mask.png` beside it: black is
  background, any other value the class.

`train.txt` and `val.txt` list image ids, one a line: the path below `images/`, or below the data
set's folder, without suffix. Without lists a quarter of the images is drawn for `val`, each by its
id, so that an image stays in its split when others are added. Images are turned upright as their
EXIF orientation says, and masks belong to upright images.

Shapes: H W pixels.
"""

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path

import numpy as np

from umtfss.common.errors import DataError
from umtfss.common.randomness import generator
from umtfss.data.class_list import IMAGES, ClassList
from umtfss.data.dataset import known_split
from umtfss.data.folder import SUFFIXES
from umtfss.data.images import read_image, read_mask, read_object_mask
from umtfss.data.pairs import pairs

VAL_PART = 0.25


class MasksFolderDataset:
    """Images and masks of one's own, splits train and val.

    Args:
        name: Name in the experiment.
        root: The folder.
        classes: Its classes.
    """

    has_masks = True
    splits: tuple[str, ...] = ("train", "val")

    def __init__(self, name: str, root: Path, classes: ClassList) -> None:
        self.name, self.root = name, root
        self.class_names: Mapping[int, str] = dict(enumerate(classes.names, 1))
        self.has_index_masks = (root / IMAGES).is_dir()

    def ids(self, split: str) -> list[str]:
        """The image ids of a split, in the order of its list, else sorted.

        Raises:
            DataError: There is no such split, an image has no mask, or a list names other images.
        """
        known_split(self, split)
        lists = [one for one in self.splits if (self.root / f"{one}.txt").is_file()]
        if split in lists:
            return self._listed(split)
        if lists:  # the other split's list alone: this split is the rest
            listed = set(self._listed(lists[0]))
            return [one for one in sorted(self._files) if one not in listed]
        return [one for one in sorted(self._files) if drawn_split(one) == split]

    def image(self, image_id: str) -> np.ndarray:
        """The image, (H, W, 3) uint8 RGB, turned upright as its EXIF orientation says.

        Raises:
            DataError: The file is missing or damaged.
        """
        return read_image(self._find(image_id)[0], upright=True)

    def mask(self, image_id: str) -> np.ndarray:
        """The class ids, (H, W) uint8, 255 ignored.

        Raises:
            DataError: The mask is missing or damaged.
        """
        path = self._find(image_id)[1]
        if self.has_index_masks:
            return read_mask(path)
        number = next(c for c, name in self.class_names.items() if name == image_id.split("/")[0])
        return read_object_mask(path) * np.uint8(number)

    def _listed(self, split: str) -> list[str]:
        """The ids in the list of a split."""
        path = self.root / f"{split}.txt"
        ids = [line.strip() for line in path.read_text().splitlines() if line.strip()]
        if unknown := sorted({*ids} - self._files.keys()):
            raise DataError(
                f"{path} lists images that are not there",
                expected="image ids, paths without suffix",
                found=", ".join(unknown[:5]),
                fix="correct the list, or add the images",
            )
        if len(set(ids)) < len(ids):
            count = len(ids) - len(set(ids))
            raise DataError(f"{path} lists images twice", found=count, fix="list each image once")
        return ids

    def _find(self, image_id: str) -> tuple[Path, Path]:
        """The files of an image and its mask."""
        if image_id not in self._files:
            raise DataError(
                f"data set {self.name!r} has no image {image_id}",
                expected=f"its file below {self.root}",
                fix="restore the file, or delete the list that names it and run again",
            )
        return self._files[image_id]

    @cached_property
    def _files(self) -> dict[str, tuple[Path, Path]]:
        """Image id -> files of the image and its mask."""
        found, problems = self._index_pairs() if self.has_index_masks else self._class_pairs()
        if problems or not found:
            raise DataError(
                f"images and masks of data set {self.name!r} do not go together:\n    "
                + "\n    ".join(problems[:10] or [f"there is no image below {self.root}"]),
                expected="a mask for every image: masks/a.png of images/a.jpg, or cow/a.png of "
                "cow/a.jpg",
                found=f"{len(problems)} problems",
                fix="add, rename or remove files",
            )
        return found

    def _index_pairs(self) -> tuple[dict[str, tuple[Path, Path]], list[str]]:
        folder, masks = self.root / IMAGES, self.root / "masks"
        found: dict[str, tuple[Path, Path]] = {}
        problems = []
        for path in sorted(folder.rglob("*")):
            if path.suffix.lower() not in SUFFIXES or path.name.startswith("."):
                continue
            image_id = path.relative_to(folder).with_suffix("").as_posix()
            mask = masks / f"{image_id}.png"
            if image_id in found:
                problems.append(f"{path} and {found[image_id][0]} have the same name")
            elif not mask.is_file():
                problems.append(f"{path} has no mask {mask}")
            else:
                found[image_id] = path, mask
        return found, problems

    def _class_pairs(self) -> tuple[dict[str, tuple[Path, Path]], list[str]]:
        found: dict[str, tuple[Path, Path]] = {}
        problems = []
        folders = [self.root / name for name in self.class_names.values()]
        if not any(map(Path.is_dir, folders)):
            return {}, [f"there is neither the folder {self.root / IMAGES} nor {folders[0]}"]
        for name, folder in zip(self.class_names.values(), folders, strict=True):
            if not folder.is_dir():
                problems.append(f"there is no folder {folder}")
                continue
            own, wrong = pairs(folder)
            found |= {f"{name}/{image.stem}": (image, mask) for image, mask in own}
            problems += wrong
        return found, problems


def drawn_split(image_id: str) -> str:
    """The split of an image, drawn by its id."""
    return "val" if generator("split", image_id).random() < VAL_PART else "train"
