"""A labelled data set of one's own in COCO's JSON, as CVAT, Roboflow and others export it.

Annotation files are `*.json` in the folder, in `annotations/` or in a folder a split, e.g.
`annotations/instances_default.json` or `train/_annotations.coco.json`. Images lie beside the file,
in the folder, in `images/` or in `images/<split>/`. Files whose path says train or val (valid,
validation, test) decide the splits; else a quarter of the images is drawn for `val`, each by its
id. With a file for val, one for test is left out.

Classes are the categories that annotations use, in the order of their ids. Masks are polygons or
run-length masks; later annotations cover earlier ones. An image id is the image's path below the
folder, without suffix.

Shapes: H W pixels.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from umtfss.common.errors import DataError
from umtfss.data.class_list import ClassList, checked_classes
from umtfss.data.coco import check_polygons
from umtfss.data.dataset import known_split
from umtfss.data.images import decoding, read_image
from umtfss.data.masks_folder import drawn_split

PATTERNS = ("*.json", "annotations/*.json", "*/_annotations.coco.json")
VAL_WORDS = ({"val", "valid", "validation"}, {"test"})  # the first that a file has
Annotation = tuple[int, Any]  # class id, polygons or run-length mask


@dataclass(frozen=True)
class _File:
    """An annotation file.

    Attributes:
        path: The file.
        split: "train", "val" or, for a file that decides nothing, "".
        content: What it holds.
    """

    path: Path
    split: str
    content: Mapping[str, Any]


@dataclass(frozen=True)
class _Image:
    """An image.

    Attributes:
        path: Its file.
        size: (H, W).
        split: As in `_File`.
        annotations: In the order of the file.
    """

    path: Path
    size: tuple[int, int]
    split: str
    annotations: tuple[Annotation, ...]


class CocoJsonDataset:
    """Images and annotations of one's own, splits train and val.

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

    def ids(self, split: str) -> list[str]:
        """The image ids of a split, sorted.

        Raises:
            DataError: There is no such split, or a file is missing or malformed.
        """
        known_split(self, split)
        return sorted(
            image_id
            for image_id, image in self._images.items()
            if (image.split or drawn_split(image_id)) == split
        )

    def image(self, image_id: str) -> np.ndarray:
        """The image, (H, W, 3) uint8 RGB, turned upright as its EXIF orientation says.

        Raises:
            DataError: The file is missing or damaged.
        """
        return read_image(self._find(image_id).path, upright=True)

    def mask(self, image_id: str) -> np.ndarray:
        """The class ids, (H, W) uint8.

        Raises:
            DataError: The image is unknown, or a run-length mask does not fit it.
        """
        image = self._find(image_id)
        mask = np.zeros(image.size, np.uint8)
        for class_id, segmentation in image.annotations:
            mask[_inside(segmentation, image)] = class_id
        return mask

    def _find(self, image_id: str) -> _Image:
        if image_id not in self._images:
            raise DataError(
                f"data set {self.name!r} has no image {image_id}",
                expected=f"an image of the annotation files below {self.root}",
                fix="delete the list that names it and run again",
            )
        return self._images[image_id]

    @cached_property
    def _images(self) -> dict[str, _Image]:
        """Image id -> image, of all files."""
        found: dict[str, _Image] = {}
        number = {name: class_id for class_id, name in self.class_names.items()}
        for file in _annotation_files(self.root):
            for image in _images_of(file, self.root, number):
                image_id = image.path.relative_to(self.root).with_suffix("").as_posix()
                if image_id in found:
                    raise DataError(
                        f"{file.path} names the image {image_id}, which was named before",
                        expected="each image in one annotation file, once",
                        fix="remove one of the files or entries",
                    )
                found[image_id] = image
        return found


def read_coco_classes(root: Path) -> ClassList:
    """The categories that annotations use, and the folds (see `read_class_list`).

    Raises:
        DataError: There is no annotation file, one is malformed, or there are too few categories.
    """
    names: dict[str, None] = {}
    for file in _annotation_files(root):
        used = {item["category_id"] for item in file.content["annotations"]}
        names |= {
            name: None for number, name in sorted(_categories(file).items()) if number in used
        }
    fix = "export two classes or more, with masks or polygons"
    return checked_classes(root, list(names), fix)


def _annotation_files(root: Path) -> list[_File]:
    """The annotation files below a folder, sorted.

    Raises:
        DataError: There is none, or one cannot be read.
    """
    paths = sorted({path for pattern in PATTERNS for path in root.glob(pattern)})
    files = [_File(path, "", content) for path in paths if (content := _content(path)) is not None]
    if not files:
        raise DataError(
            f"{root} holds no COCO annotations",
            expected=" or ".join(PATTERNS) + " with the keys images, annotations and categories",
            found=", ".join(str(path.relative_to(root)) for path in paths[:5]) or "no such file",
            fix="unpack the export there, or correct `folder:`",
        )
    words = [set(re.findall("[a-z]+", str(f.path.relative_to(root)).lower())) for f in files]
    val = next((one for one in VAL_WORDS if any(one & said for said in words)), set())
    train = any("train" in said for said in words)
    if not (train and val):
        return files  # one split alone decides nothing
    split = ["val" if val & said else "train" if "train" in said else None for said in words]
    return [_File(f.path, s, f.content) for f, s in zip(files, split, strict=True) if s]


def _content(path: Path) -> Mapping[str, Any] | None:
    """The content of a file; None: it holds something else than annotations.

    Raises:
        DataError: The file is not JSON, or an entry lacks a key.
    """
    with decoding(path):
        text = path.read_bytes()
    try:
        content = json.loads(text)
        if not {"images", "annotations", "categories"} <= set(content):
            return None
        known = {item["id"] for item in content["categories"]}
        pictured = {item["id"] for item in content["images"]}
        for item in content["annotations"]:
            if item["category_id"] not in known or item["image_id"] not in pictured:
                raise ValueError(f"annotation {item['id']} has no image or no category")
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"{path} is not an annotation file of COCO ({type(error).__name__}: {error})",
            expected="the keys images, annotations and categories, with ids that go together",
            fix="export it again",
        ) from error
    return content


def _categories(file: _File) -> dict[int, str]:
    return {item["id"]: str(item["name"]) for item in file.content["categories"]}


def _images_of(file: _File, root: Path, number: Mapping[str, int]) -> list[_Image]:
    """The images of a file with their annotations."""
    names = _categories(file)
    drawn: dict[Any, list[Annotation]] = {item["id"]: [] for item in file.content["images"]}
    sizes = {item["id"]: (item["height"], item["width"]) for item in file.content["images"]}
    for item in file.content["annotations"]:
        segmentation = item.get("segmentation")
        if not segmentation:
            raise DataError(
                f"{file.path}: annotation {item['id']} of image {item['image_id']} has no mask",
                expected="polygons or a run-length mask in `segmentation`",
                found="a box alone" if item.get("bbox") else "nothing",
                fix="export instance segmentation, not boxes, or delete the annotation",
            )
        if isinstance(segmentation, list):
            check_polygons(item, sizes[item["image_id"]], file.path)
        drawn[item["image_id"]].append((number[names[item["category_id"]]], segmentation))
    return [
        _Image(_file_of(item["file_name"], file, root), sizes[item["id"]], file.split, tuple(found))
        for item, found in zip(file.content["images"], drawn.values(), strict=True)
    ]


def _file_of(name: str, file: _File, root: Path) -> Path:
    """The file of an image.

    Raises:
        DataError: There is none, or the name leads out of the folder.
    """
    subset = file.path.stem.removeprefix("instances_")
    images = root / "images"
    folders = (file.path.parent, root, images, images / subset, root / subset)
    relative = PurePosixPath(name.replace("\\", "/"))
    inside = not relative.is_absolute() and ".." not in relative.parts
    path = next((f / relative for f in folders if inside and (f / relative).is_file()), None)
    if path is None:
        raise DataError(
            f"{file.path} names the image {name}, which is not there",
            expected=f"the file in one of {', '.join(map(str, dict.fromkeys(folders)))}",
            fix="export with images, or put them there",
        )
    return path


def _inside(segmentation: Any, image: _Image) -> np.ndarray:
    """Where an annotation is, (H, W) bool."""
    height, width = image.size
    try:
        if isinstance(segmentation, list):
            polygons = [polygon for polygon in segmentation if len(polygon) >= 6]
            if not polygons:  # fewer than three points enclose nothing
                return np.zeros(image.size, bool)
            segmentation = coco_mask.merge(coco_mask.frPyObjects(polygons, height, width))
            return coco_mask.decode(segmentation).astype(bool)
        if list(segmentation["size"]) != [height, width]:
            raise ValueError(f"a run-length mask has the size {segmentation['size']}")
        if isinstance(segmentation["counts"], list):
            segmentation = coco_mask.frPyObjects(segmentation, height, width)
        return coco_mask.decode(segmentation).astype(bool)
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"an annotation of {image.path} cannot be painted ({error})",
            expected=f"polygons, or a run-length mask of {height} x {width} px (height, width)",
            fix="export it again",
        ) from error
