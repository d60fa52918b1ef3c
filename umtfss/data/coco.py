"""COCO as a segmentation data set: masks painted from `instances_*.json` (arXiv:1405.0312).

Two ways of naming files are read: `train2014/COCO_train2014_000000000009.jpg` and
`train2017/000000000009.jpg`. Where both years are present, 2014 is taken, the year of COCO-20i. An
image id is the 12 digits that both names share.

Shapes: A annotations, P polygons, H W pixels.
"""

import json
from array import array
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from umtfss.common.errors import DataError
from umtfss.data.dataset import known_split
from umtfss.data.images import read_image

YEARS = ("2014", "2017")
# fmt: off
CLASS_NAMES = (
    "person", "bicycle", "car", "motorcycle", "airplane", "bus", "train", "truck", "boat",
    "traffic light", "fire hydrant", "stop sign", "parking meter", "bench", "bird", "cat", "dog",
    "horse", "sheep", "cow", "elephant", "bear", "zebra", "giraffe", "backpack", "umbrella",
    "handbag", "tie", "suitcase", "frisbee", "skis", "snowboard", "sports ball", "kite",
    "baseball bat", "baseball glove", "skateboard", "surfboard", "tennis racket", "bottle",
    "wine glass", "cup", "fork", "knife", "spoon", "bowl", "banana", "apple", "sandwich", "orange",
    "broccoli", "carrot", "hot dog", "pizza", "donut", "cake", "chair", "couch", "potted plant",
    "bed", "dining table", "toilet", "tv", "laptop", "mouse", "remote", "keyboard", "cell phone",
    "microwave", "oven", "toaster", "sink", "refrigerator", "book", "clock", "vase", "scissors",
    "teddy bear", "hair drier", "toothbrush",
)
# fmt: on


class CocoDataset:
    """COCO, splits train and val: the images that have an annotation.

    The annotations are read once per process, when a list or a mask is first asked for. Processes
    forked after that, such as data loaders, share them. They are not pickled with the data set.

    Args:
        name: Name in the experiment.
        root: The folder that holds `annotations`, `train2014` and `val2014` (or 2017).

    Raises:
        DataError: The folder has another layout.
    """

    has_masks = True
    splits: tuple[str, ...] = ("train", "val")

    def __init__(self, name: str, root: Path) -> None:
        self.name = name
        self.class_names: Mapping[int, str] = dict(enumerate(CLASS_NAMES, 1))
        self.root = root
        files = {year: [_annotation_file(root, s, year) for s in self.splits] for year in YEARS}
        complete = [year for year in YEARS if all(path.is_file() for path in files[year])]
        if not complete:
            raise DataError(
                f"{root} is not a COCO folder",
                expected=f"annotations/instances_{{train,val}}{YEARS[0]}.json (or {YEARS[1]})",
                found=sorted(path.name for path in root.rglob("instances_*.json"))[:10],
                fix="unpack annotations_trainval2014.zip, train2014.zip and val2014.zip in it",
            )
        self.year = complete[0]

    def ids(self, split: str) -> list[str]:
        """The ids of images with an annotation, sorted.

        A crowd is an annotation but is not painted, so the mask of a listed image may be empty.

        Raises:
            DataError: There is no such split, or its annotations cannot be read.
        """
        return sorted(self._annotations(known_split(self, split)).rows)

    def image(self, image_id: str) -> np.ndarray:
        """The image, (H, W, 3) uint8 RGB.

        Raises:
            DataError: The file is missing or damaged.
        """
        return read_image(self._find(image_id)[1])

    def mask(self, image_id: str) -> np.ndarray:
        """The class ids, (H, W) uint8; crowds are skipped, later annotations cover earlier ones.

        Raises:
            DataError: The image is unknown, or its annotations are malformed.
        """
        return self._annotations(self._find(image_id)[0]).paint(image_id)

    def _annotations(self, split: str) -> "_Annotations":
        return _read_annotations(_annotation_file(self.root, split, self.year))

    def _find(self, image_id: str) -> tuple[str, Path]:
        """The split and the file of an image."""
        tried = []
        for split in self.splits:
            folder = f"{split}{self.year}"
            for name in (f"COCO_{folder}_{image_id}.jpg", f"{image_id}.jpg"):
                path = self.root / folder / name
                if path.is_file():
                    return split, path
                tried.append(path.relative_to(self.root).as_posix())
        raise DataError(
            f"data set {self.name!r} has no file of image {image_id}",
            expected=f"one of {', '.join(tried)} in {self.root}",
            fix="unpack the images of both splits",
        )


@dataclass(frozen=True)
class _Annotations:
    """The annotations of a split as flat arrays, which take far less memory than JSON objects.

    Attributes:
        sizes: Image id -> (H, W).
        rows: Image id -> rows of its painted annotations, in the order of the file.
        class_id: (A,) class of each annotation.
        polygon_start: (A + 1,) rows of `point_start`: where each annotation's polygons start.
        point_start: (P + 1,) rows of `coordinates`: where each polygon's points start.
        coordinates: x and y in turn, float64; a narrower type would round differently.
    """

    sizes: Mapping[str, tuple[int, int]]
    rows: Mapping[str, list[int]]
    class_id: array
    polygon_start: array
    point_start: array
    coordinates: array

    def paint(self, image_id: str) -> np.ndarray:
        """The class ids, (H, W) uint8."""
        if image_id not in self.rows:
            raise DataError(
                f"image {image_id} has no annotation",
                expected="an image of the split's list",
                fix="delete the file that names the image and run again",
            )
        height, width = self.sizes[image_id]
        mask = np.zeros((height, width), dtype=np.uint8)
        for row in self.rows[image_id]:
            bounds = self.point_start[self.polygon_start[row] : self.polygon_start[row + 1] + 1]
            polygons = [list(self.coordinates[a:b]) for a, b in pairwise(bounds)]
            codes = coco_mask.frPyObjects(polygons, height, width)
            inside = coco_mask.decode(coco_mask.merge(codes)).astype(bool)
            mask[inside] = self.class_id[row]
        return mask


@lru_cache(maxsize=4)
def _read_annotations(path: Path) -> _Annotations:
    try:
        raw = json.loads(path.read_text())
        return _flatten(raw)
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"{path} is not an instance annotation file of COCO ({type(error).__name__}: {error})",
            expected="the keys images, annotations and categories, and polygons where not a crowd",
            fix="fetch annotations_trainval2014.zip again",
        ) from error


def _flatten(raw: dict[str, Any]) -> _Annotations:
    categories = sorted((item["id"], item["name"]) for item in raw["categories"])
    if tuple(name for _, name in categories) != CLASS_NAMES:
        raise ValueError(f"its {len(categories)} categories are not the 80 of COCO")
    class_of = {category: number for number, (category, _) in enumerate(categories, 1)}
    sizes = {f"{item['id']:012d}": (item["height"], item["width"]) for item in raw["images"]}
    rows: dict[str, list[int]] = {}
    class_id, coordinates = array("B"), array("d")
    polygon_start, point_start = array("q", [0]), array("q", [0])
    for item in raw["annotations"]:
        image_id = f"{item['image_id']:012d}"
        if image_id not in sizes:
            raise ValueError(f"annotation {item['id']} belongs to no image")
        painted = rows.setdefault(image_id, [])
        if item["iscrowd"]:
            continue
        if not isinstance(item["segmentation"], list):
            raise ValueError(f"annotation {item['id']} has no polygons")
        polygons = [polygon for polygon in item["segmentation"] if len(polygon) >= 6]
        if not polygons:  # fewer than three points enclose nothing
            continue
        painted.append(len(class_id))
        class_id.append(class_of[item["category_id"]])
        for polygon in polygons:
            coordinates.extend(polygon)
            point_start.append(len(coordinates))
        polygon_start.append(len(point_start) - 1)
    return _Annotations(sizes, rows, class_id, polygon_start, point_start, coordinates)


def _annotation_file(root: Path, split: str, year: str) -> Path:
    return root / "annotations" / f"instances_{split}{year}.json"
