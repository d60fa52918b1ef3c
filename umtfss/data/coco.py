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
from itertools import chain, pairwise
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from umtfss.common.errors import DataError
from umtfss.data.dataset import known_split
from umtfss.data.images import decoding, read_image

YEARS = ("2014", "2017")
LONGEST_SIDE = 65_500  # px, of a JPEG
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
                fix="unpack annotations_trainval2014.zip, train2014.zip and val2014.zip in it; an "
                "export of your own is read by `kind: coco_json`",
            )
        self.year = complete[0]

    def ids(self, split: str) -> list[str]:
        """The ids of images with an annotation, sorted.

        A crowd is an annotation but is not painted, so the mask of a listed image may be empty.

        Raises:
            DataError: There is no such split, or its annotations are absent or cannot be read.
        """
        found = sorted(self._annotations(known_split(self, split)).rows)
        if not found:
            raise DataError(
                f"{_annotation_file(self.root, split, self.year)} holds no annotation",
                expected="an annotation of one image or more",
                fix=f"annotate images of {split}, or read the photos as `kind: folder`",
            )
        return found

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
        split, _ = self._find(image_id)
        if image_id not in self._annotations(split).rows:  # one folder may hold both splits
            split = next(other for other in self.splits if other != split)
        return self._annotations(split).paint(image_id)

    def _annotations(self, split: str) -> "_Annotations":
        return _read_annotations(_annotation_file(self.root, split, self.year))

    def _find(self, image_id: str) -> tuple[str, Path]:
        """The split in whose folder the file of an image is, and the file."""
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
    with decoding(path):
        content = path.read_bytes()
    try:
        return _flatten(json.loads(content), path)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"{path} is not an instance annotation file of COCO ({type(error).__name__}: {error})",
            expected="the keys images, annotations and categories, and polygons where not a crowd",
            fix="fetch annotations_trainval2014.zip again; categories of your own are read by "
            "`kind: coco_json`",
        ) from error


def _flatten(raw: dict[str, Any], path: Path) -> _Annotations:
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
        check_polygons(item, sizes[image_id], path)
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


def check_polygons(item: dict[str, Any], size: tuple[int, int], path: Path) -> None:
    """Refuse what cannot be painted: masks that are no polygons, and points far from the image.

    Painting clips polygons to the image. Its memory grows with their length, so a point may lie
    outside the image by the image's side at most.
    """
    polygons, where = item["segmentation"], f"annotation {item['id']} of image {item['image_id']}"
    if isinstance(polygons, dict) and "counts" in polygons:
        raise DataError(
            f"{path}: {where} is a run-length mask",
            expected="polygons where iscrowd is 0",
            fix="convert the mask to polygons; crowds, which are not painted, have iscrowd 1",
        )
    if not isinstance(polygons, list):
        raise ValueError(f"annotation {item['id']} has no polygons")
    side = max(size)
    if not (min(size) > 0 and side <= LONGEST_SIDE):
        raise DataError(
            f"{path}: image {item['image_id']} cannot be painted",
            expected=f"height and width of 1 to {LONGEST_SIDE} px",
            found=size,
            fix="correct the size of the image",
        )
    for value in chain.from_iterable(polygons):
        if not -side <= value <= 2 * side:  # NaN, too
            raise DataError(
                f"{path}: {where} cannot be painted",
                expected=f"finite coordinates from {-side} to {2 * side} px, as its image has "
                f"{size[1]} x {size[0]} px",
                found=value,
                fix="correct or delete the annotation",
            )


def _annotation_file(root: Path, split: str, year: str) -> Path:
    return root / "annotations" / f"instances_{split}{year}.json"
