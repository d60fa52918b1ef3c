"""Files of annotation tools: COCO JSON and LabelMe.

Shapes: H W pixels. Coordinates of polygons count from the image's top left corner, so the first
pixel reaches from 0 to 1.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
from pycocotools import mask as coco_mask
from scipy.ndimage import find_objects, label
from skimage.measure import approximate_polygon, find_contours

Shape = Literal["polygons", "rle"]
TOLERANCE = 0.75  # px between a polygon and the border of its region
LABELME_VERSION = "5.5.0"  # of the file format


def encode(mask: np.ndarray) -> dict[str, Any]:
    """The run lengths of a mask in COCO's compressed form.

    Args:
        mask: (H, W) bool.
    """
    found = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
    return {"size": list(mask.shape), "counts": found["counts"].decode()}


def decode(runs: Mapping[str, Any]) -> np.ndarray:
    """The mask of run lengths, (H, W) bool."""
    decoded: np.ndarray = coco_mask.decode(dict(runs))
    return decoded.astype(bool)


def polygons(mask: np.ndarray) -> list[np.ndarray]:
    """The border of every connected region, each (n, 2) float: x and y; holes are filled.

    Args:
        mask: (H, W) bool.
    """
    regions, _ = label(mask)
    found = []
    for number, box in enumerate(find_objects(regions), 1):
        region = np.pad(regions[box] == number, 1).astype(np.float32)
        border = max(find_contours(region, 0.5), key=len)
        simple = approximate_polygon(border, TOLERANCE)
        if len(simple) < 4:  # the first point is repeated at the end
            simple = border
        corner = np.array([box[0].start, box[1].start]) - 0.5  # of the padding, and pixel centres
        found.append((simple[:-1] + corner)[:, ::-1])
    return found


def coco(
    photos: Iterable[tuple[str, Sequence[Mapping[str, Any]]]],
    sizes: Mapping[str, Sequence[int]],
    names: Sequence[str],
    shape: Shape,
) -> dict[str, Any]:
    """The content of a COCO JSON.

    Args:
        photos: File name, and the objects found: name, score, runs (see `encode`).
        sizes: File name -> H, W.
        names: Names of all objects; the first has category id 1.
        shape: "polygons", one annotation for each connected region, with holes filled; or "rle",
            one exact annotation for each object.
    """
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for photo, objects in photos:
        height, width = sizes[photo]
        images.append({"id": len(images) + 1, "file_name": photo, "height": height, "width": width})
        for one in objects:
            for segmentation, runs in _segmentations(one["runs"], shape):
                annotations.append(
                    {
                        "id": len(annotations) + 1,
                        "image_id": len(images),
                        "category_id": names.index(one["name"]) + 1,
                        "segmentation": segmentation,
                        "area": int(coco_mask.area(runs)),
                        "bbox": coco_mask.toBbox(runs).tolist(),
                        "iscrowd": 0,
                        "score": one["score"],
                    }
                )
    categories = [{"id": number, "name": name} for number, name in enumerate(names, 1)]
    return {"images": images, "categories": categories, "annotations": annotations}


def _segmentations(runs: dict[str, Any], shape: Shape) -> list[tuple[Any, dict[str, Any]]]:
    """The segmentations of an object in COCO's form, each with its run lengths."""
    if shape == "rle":
        return [(runs, runs)]
    height, width = runs["size"]
    found = []
    for polygon in polygons(decode(runs)):
        flat = [polygon.round(2).ravel().tolist()]
        found.append((flat, coco_mask.merge(coco_mask.frPyObjects(flat, height, width))))
    return found


def labelme(
    image_path: str, size: Sequence[int], objects: Iterable[Mapping[str, Any]]
) -> dict[str, Any]:
    """The content of a LabelMe file: a polygon for each connected region, with holes filled.

    Args:
        image_path: The photo, relative to the file.
        size: H, W.
        objects: The objects found: name, score, runs (see `encode`).
    """
    return {
        "version": LABELME_VERSION,
        "flags": {},
        "shapes": [
            {
                "label": one["name"],
                "points": polygon.round(2).tolist(),
                "group_id": None,
                "description": f"score {one['score']:.3f}",
                "shape_type": "polygon",
                "flags": {},
            }
            for one in objects
            for polygon in polygons(decode(one["runs"]))
        ],
        "imagePath": image_path,
        "imageData": None,
        "imageHeight": size[0],
        "imageWidth": size[1],
    }
