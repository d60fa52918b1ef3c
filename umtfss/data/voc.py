"""PASCAL VOC 2012 with the extra masks of SBD (Hariharan et al., ICCV 2011).

Two layouts are read:

* official: `VOCdevkit/VOC2012` (or its content) and `benchmark_RELEASE/dataset`, as unpacked.
  train = (VOC segmentation train + SBD train) - VOC segmentation val, 5,953 images; val = VOC
  segmentation val, 1,449 images.
* compact: `ImageSets/{train,val}.txt`, `JPEGImages` and `SegmentationClassAug`. The two lists also
  replace the official lists if they lie beside them in an official folder.

Split train is also cut in two, for choosing settings without a test image: dev is a random third
of its images, fit the rest.

The mask of an image is the first file that exists among `SegmentationClass/<id>.png` (VOC's own),
`SegmentationClassAug/<id>.png` and SBD's `cls/<id>.mat`.

Shapes: H W pixels.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from scipy.io import loadmat

from umtfss.common.errors import DataError
from umtfss.common.randomness import permutation
from umtfss.common.text import read_text
from umtfss.data.dataset import known_split
from umtfss.data.images import decoding, read_image, read_mask

# fmt: off
CLASS_NAMES = (
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow",
    "diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train",
    "tvmonitor",
)
# fmt: on
DEV_SHARE = 3  # one image of this many of split train belongs to split dev


class VocDataset:
    """VOC 2012, splits train and val; fit and dev are the two parts of train.

    Args:
        name: Name in the experiment.
        root: The folder, in either layout.

    Raises:
        DataError: The folder has neither layout.
    """

    has_masks = True
    splits: tuple[str, ...] = ("train", "val", "fit", "dev")

    def __init__(self, name: str, root: Path) -> None:
        self.name = name
        self.class_names: Mapping[int, str] = dict(enumerate(CLASS_NAMES, 1))
        nested = root / "VOCdevkit" / "VOC2012"
        self.voc = nested if nested.is_dir() else root
        self.sbd = root / "benchmark_RELEASE" / "dataset"
        self.compact = (self.voc / "ImageSets" / "val.txt").is_file()
        if not self.compact and not (self.voc / "ImageSets" / "Segmentation").is_dir():
            raise DataError(
                f"{root} is not a VOC 2012 folder",
                expected="VOCdevkit/VOC2012/ImageSets/Segmentation/ or ImageSets/{train,val}.txt",
                found=sorted(path.name for path in root.iterdir())[:10],
                fix="point `folder:` at the folder that holds them",
            )

    def ids(self, split: str) -> list[str]:
        """The image ids of a split: sorted, or in the order of the compact list.

        Raises:
            DataError: There is no such split, or a list is missing or malformed.
        """
        known_split(self, split)
        if split in ("fit", "dev"):
            both = sorted(self.ids("train"))
            order = permutation(len(both), "voc2012", "dev")
            held_out = {both[place] for place in order[: len(both) // DEV_SHARE]}
            return [one for one in both if (one in held_out) == (split == "dev")]
        if self.compact:
            return _read_list(self.voc / "ImageSets" / f"{split}.txt")
        lists = self.voc / "ImageSets" / "Segmentation"
        val = set(_read_list(lists / "val.txt"))
        if split == "val":
            return sorted(val)
        train = {*_read_list(lists / "train.txt"), *_read_list(self.sbd / "train.txt")}
        return sorted(train - val)

    def image(self, image_id: str) -> np.ndarray:
        """The image, (H, W, 3) uint8 RGB.

        Raises:
            DataError: The file is missing or damaged.
        """
        return read_image(self.voc / "JPEGImages" / f"{image_id}.jpg")

    def mask(self, image_id: str) -> np.ndarray:
        """The class ids, (H, W) uint8, 255 ignored.

        Raises:
            DataError: There is no mask, or it is damaged or RGB-encoded.
        """
        candidates = [
            self.voc / "SegmentationClass" / f"{image_id}.png",
            self.voc / "SegmentationClassAug" / f"{image_id}.png",
            self.sbd / "cls" / f"{image_id}.mat",
        ]
        for path in candidates:
            if path.is_file():
                return read_mask(path) if path.suffix == ".png" else _read_sbd(path)
        raise DataError(
            f"image {image_id} of {self.name!r} has no mask",
            expected="one of " + ", ".join(map(str, candidates)),
            fix="unpack SBD (benchmark.tgz) beside VOCdevkit, or add SegmentationClassAug",
        )


def _read_list(path: Path) -> list[str]:
    if not path.is_file():
        raise DataError(
            f"{path} does not exist",
            expected="a list of image ids, one a line",
            fix="unpack VOCtrainval_11-May-2012.tar and SBD's benchmark.tgz in one folder",
        )
    ids = read_text(path, DataError).splitlines()
    ids = [line.strip() for line in ids if line.strip()]
    odd = [line for line in ids if len(line.split()) > 1 or "/" in line]
    if odd or len(set(ids)) < len(ids):
        raise DataError(
            f"{path} is not a list of distinct image ids",
            expected="one id such as 2007_000033 a line",
            found=repr(odd[0]) if odd else f"{len(ids) - len(set(ids))} repeated ids",
            fix="use the published list",
        )
    return ids


def _read_sbd(path: Path) -> np.ndarray:
    with decoding(path):
        content = loadmat(path, squeeze_me=True, variable_names="GTcls")
        return np.asarray(content["GTcls"]["Segmentation"].item()).astype(np.uint8)
