"""COCO JSON and LabelMe files, read as their own tools read them."""

import json

import numpy as np
import pytest
from PIL import Image, ImageDraw
from pycocotools.coco import COCO

from umtfss.predict.annotations import coco, decode, encode, labelme, polygons

NAMES = ("cow", "sheep")


def blobs() -> dict[str, np.ndarray]:
    """Two objects: one in two parts, one with a hole and a single pixel."""
    y, x = np.mgrid[:90, :140]
    cow = ((y - 30) ** 2 + (x - 30) ** 2 < 400) | ((y > 60) & (y < 80) & (x > 90))
    sheep = (abs(y - 35) < 25) & (abs(x - 95) < 30) & ~((abs(y - 35) < 5) & (abs(x - 95) < 5))
    sheep[85, 5] = True
    return {"cow": cow, "sheep": sheep & ~cow}


def found(masks):
    return [{"name": n, "score": 0.5, "runs": encode(m)} for n, m in masks.items()]


def iou(one, other):
    return (one & other).sum() / (one | other).sum()


def filled(mask):
    """The mask without its hole."""
    mask = mask.copy()
    mask[30:41, 90:101] = True
    return mask


def test_run_lengths_come_back():
    for mask in blobs().values():
        np.testing.assert_array_equal(decode(json.loads(json.dumps(encode(mask)))), mask)


@pytest.mark.parametrize("shape", ["rle", "polygons"])
def test_cocos_own_reader_shows_the_masks(tmp_path, shape):
    masks = blobs()
    photos = [("empty.jpg", []), ("deep/a.jpg", found(masks))]
    sizes = {"deep/a.jpg": (90, 140), "empty.jpg": (7, 9)}
    path = tmp_path / "coco.json"
    path.write_text(json.dumps(coco(photos, sizes, NAMES, shape)))
    reader = COCO(path)
    assert [c["name"] for c in reader.loadCats(reader.getCatIds())] == list(NAMES)
    (image,) = [i for i in reader.dataset["images"] if i["file_name"] == "deep/a.jpg"]
    assert (image["height"], image["width"]) == (90, 140)
    for number, name in enumerate(NAMES, 1):
        own = reader.loadAnns(reader.getAnnIds(image["id"], number))
        parts = [reader.annToMask(one).astype(bool) for one in own]
        assert len(own) == (1 if shape == "rle" else 2)
        whole = np.logical_or.reduce(parts)
        if shape == "rle":
            np.testing.assert_array_equal(whole, masks[name])
        else:
            assert iou(whole, filled(masks[name]) if name == "sheep" else masks[name]) > 0.97
        for one, part in zip(own, parts, strict=True):
            assert one["area"] == part.sum()
            rows, columns = np.nonzero(part)
            x, y, width, height = one["bbox"]
            assert (x, y) == (columns.min(), rows.min())
            assert (width, height) == (np.ptp(columns) + 1, np.ptp(rows) + 1)
            assert (one["score"], one["iscrowd"]) == (0.5, 0)
    assert not reader.getAnnIds(reader.dataset["images"][0]["id"])


def test_labelme_shows_the_masks_as_its_reader_paints_them():
    masks = blobs()
    content = json.loads(json.dumps(labelme("../a.jpg", (90, 140), found(masks))))
    assert content["imagePath"] == "../a.jpg"
    assert (content["imageHeight"], content["imageWidth"]) == (90, 140)
    painted = {name: np.zeros((90, 140), bool) for name in NAMES}
    for shape in content["shapes"]:  # labelme.utils.shape_to_mask
        canvas = Image.new("1", (140, 90))
        points = [tuple(point) for point in shape["points"]]
        ImageDraw.Draw(canvas).polygon(points, outline=1, fill=1)
        painted[shape["label"]] |= np.array(canvas)
    assert iou(painted["cow"], masks["cow"]) > 0.93  # it paints the outline, too
    assert iou(painted["sheep"], filled(masks["sheep"])) > 0.93


def test_polygons_lie_on_the_borders_of_pixels():
    mask = np.zeros((9, 9), bool)
    mask[2:5, 3:8] = True
    (polygon,) = polygons(mask)
    np.testing.assert_allclose([polygon.min(0), polygon.max(0)], [[3, 2], [8, 5]], atol=0.5)
    assert not np.allclose([polygon.min(0), polygon.max(0)], [[2.5, 1.5], [7.5, 4.5]], atol=0.25)
    assert not polygons(np.zeros((9, 9), bool))
