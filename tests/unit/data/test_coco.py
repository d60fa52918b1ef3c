"""The reader of COCO, on small folders whose masks are known."""

import json
import pickle

import numpy as np
import pytest
from PIL import Image

from umtfss.common.errors import DataError
from umtfss.data.coco import CLASS_NAMES, CocoDataset

HEIGHT, WIDTH = 20, 30
# Category ids have gaps in COCO: class 12 of 80 is category 13.
CATEGORIES = [{"id": n + (n > 11), "name": name} for n, name in enumerate(CLASS_NAMES, 1)]


def box(number, image_id, category, x0, y0, x1, y1, crowd=0):
    shape = [[x0, y0, x1, y0, x1, y1, x0, y1]]
    if crowd:
        shape = {"counts": [0, HEIGHT * WIDTH], "size": [HEIGHT, WIDTH]}
    return {
        "id": number,
        "image_id": image_id,
        "category_id": category,
        "iscrowd": crowd,
        "segmentation": shape,
    }


def write_split(root, split, year, images, annotations, categories=CATEGORIES):
    folder = root / f"{split}{year}"
    folder.mkdir(parents=True, exist_ok=True)
    prefix = f"COCO_{split}2014_" if year == "2014" else ""
    described = []
    for number in images:
        name = f"{prefix}{number:012d}.jpg"
        Image.new("RGB", (WIDTH, HEIGHT), (number, 0, 0)).save(folder / name)
        described.append({"id": number, "file_name": name, "height": HEIGHT, "width": WIDTH})
    content = {"images": described, "annotations": annotations, "categories": categories[::-1]}
    (root / "annotations").mkdir(exist_ok=True)
    (root / "annotations" / f"instances_{split}{year}.json").write_text(json.dumps(content))


@pytest.fixture(params=["2014", "2017"])
def root(request, tmp_path):
    annotations = [
        box(9, 7, 1, 0, 0, 10, 10),
        box(8, 7, 13, 5, 5, 20, 15),  # later in the file: overwrites
        box(7, 7, 2, 0, 0, 30, 20, crowd=1),
        box(6, 3, 81, 0, 0, 30, 20, crowd=1),
    ]
    write_split(tmp_path, "train", request.param, [1], [box(1, 1, 81, 0, 0, 30, 20)])
    write_split(tmp_path, "val", request.param, [7, 5, 3], annotations)
    return tmp_path


def test_lists_hold_the_annotated_images(root):
    dataset = CocoDataset("coco", root)
    assert dataset.ids("train") == ["000000000001"]
    assert dataset.ids("val") == ["000000000003", "000000000007"]
    assert dataset.image("000000000007").shape == (HEIGHT, WIDTH, 3)


def test_masks_are_painted_in_the_order_of_the_file_without_crowds(root):
    expected = np.zeros((HEIGHT, WIDTH), dtype=np.uint8)
    expected[:10, :10] = 1
    expected[5:15, 5:20] = 12
    dataset = CocoDataset("coco", root)
    np.testing.assert_array_equal(dataset.mask("000000000007"), expected)
    assert (dataset.mask("000000000001") == 80).mean() > 0.9
    assert not dataset.mask("000000000003").any()  # a crowd only


def test_copy_in_another_process_carries_paths_only(root):
    dataset = CocoDataset("coco", root)
    mask = dataset.mask("000000000007")
    sent = pickle.dumps(dataset)
    assert len(sent) < 5000
    np.testing.assert_array_equal(pickle.loads(sent).mask("000000000007"), mask)


def test_2014_goes_before_2017(tmp_path):
    for year, number in (("2014", 4), ("2017", 5)):
        for split in ("train", "val"):
            write_split(tmp_path, split, year, [number], [box(1, number, 1, 0, 0, 9, 9)])
    assert CocoDataset("coco", tmp_path).ids("val") == ["000000000004"]


def test_degenerate_polygons_paint_nothing(tmp_path):
    point = {**box(1, 2, 1, 0, 0, 1, 1), "segmentation": [[3.0, 4.0, 5.0, 6.0]]}
    for split in ("train", "val"):
        write_split(tmp_path, split, "2017", [2], [point, box(2, 2, 3, 0, 0, 4, 4)])
    mask = CocoDataset("coco", tmp_path).mask("000000000002")
    assert np.bincount(mask.ravel()).tolist() == [HEIGHT * WIDTH - 16, 0, 0, 16]


def test_missing_files_are_named(root):
    dataset = CocoDataset("coco", root)
    with pytest.raises(DataError, match=r"no file of image 000000000099(?s:.*)train20.*val20"):
        dataset.image("000000000099")
    with pytest.raises(DataError, match="000000000005 has no annotation"):
        dataset.mask("000000000005")
    with pytest.raises(DataError, match="no split 'test'"):
        dataset.ids("test")
    with pytest.raises(DataError, match="not a COCO folder"):
        CocoDataset("coco", root / "annotations")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"categories": CATEGORIES[:79]}, "79 categories are not the 80"),
        ({"annotations": None}, "not an instance annotation file of COCO"),
        ({"annotations": [{**box(5, 7, 1, 0, 0, 9, 9), "segmentation": {}}]}, "5 has no polygons"),
        ({"annotations": [box(5, 7, 99, 0, 0, 9, 9)]}, "KeyError: 99"),
        ({"annotations": [box(5, 8, 1, 0, 0, 9, 9)]}, "5 belongs to no image"),
    ],
)
def test_malformed_annotations_are_named(root, change, message):
    (path,) = (root / "annotations").glob("instances_val*.json")
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(DataError, match=message):
        CocoDataset("coco", root).ids("val")


def test_truncated_annotations_are_named(root):
    (path,) = (root / "annotations").glob("instances_val*.json")
    path.write_text(path.read_text()[:100])
    with pytest.raises(DataError, match=r"instances_val.*\.json is not an instance annotation"):
        CocoDataset("coco", root).ids("val")


def polygon(*values):
    return [{**box(5, 7, 1, 0, 0, 9, 9), "segmentation": [list(values)]}]


RLE = {"counts": [0, 9], "size": [HEIGHT, WIDTH]}


@pytest.mark.parametrize(
    ("change", "named", "found"),
    [
        ({"annotations": polygon(0, 0, float("nan"), 0, 5, 5)}, "annotation 5 of image 7", "nan"),
        ({"annotations": polygon(0, 0, float("inf"), 0, 5, 5)}, "annotation 5 of image 7", "inf"),
        ({"annotations": polygon(0, 0, 1e9, 0, 5, 5)}, "annotation 5 of image 7", "1000000000.0"),
        ({"annotations": polygon(0, 0, 9, -31, 5, 5)}, "annotation 5 of image 7", "-31"),
        ({"images": [{"id": 7, "height": 0, "width": 9}]}, "image 7", "(0, 9)"),
        ({"images": [{"id": 7, "height": 9, "width": 10**9}]}, "image 7", "(9, 1000000000)"),
        (
            {"annotations": [{**box(5, 7, 1, 0, 0, 9, 9), "segmentation": RLE}]},
            "annotation 5 of image 7 is a run-length mask",
            "None",
        ),
    ],
)
def test_what_cannot_be_painted_is_refused_by_image_and_annotation(root, change, named, found):
    (path,) = (root / "annotations").glob("instances_val*.json")
    plain = {"annotations": polygon(0, 0, 9, 0, 5, 5)}
    path.write_text(json.dumps({**json.loads(path.read_text()), **plain, **change}))
    with pytest.raises(DataError, match=named) as caught:
        CocoDataset("coco", root).ids("val")
    assert str(caught.value.found) == found
    assert "again" not in caught.value.fix


def test_polygons_are_clipped_to_the_image(root):
    (path,) = (root / "annotations").glob("instances_val*.json")
    outside = {"annotations": [box(5, 7, 1, -20, -15, 12, 8)]}
    path.write_text(json.dumps({**json.loads(path.read_text()), **outside}))
    mask = CocoDataset("coco", root).mask("000000000007")
    assert mask[:8, :12].all()
    assert mask.sum() == 8 * 12


def test_a_split_without_annotations_is_no_damaged_file(root):
    (path,) = (root / "annotations").glob("instances_val*.json")
    path.write_text(json.dumps({**json.loads(path.read_text()), "annotations": []}))
    with pytest.raises(DataError, match="holds no annotation") as caught:
        CocoDataset("coco", root).ids("val")
    assert "kind: folder" in caught.value.fix


def test_one_folder_may_hold_the_images_of_both_splits(root):
    mask = CocoDataset("coco", root).mask("000000000007")
    (folder,) = root.glob("val20*")
    for path in folder.iterdir():
        path.rename(root / folder.name.replace("val", "train") / path.name.replace("val", "train"))
    shared = CocoDataset("coco", root)
    assert shared.image("000000000007").shape == (HEIGHT, WIDTH, 3)
    np.testing.assert_array_equal(shared.mask("000000000007"), mask)
    assert (shared.mask("000000000001") == 80).mean() > 0.9
    with pytest.raises(DataError, match="000000000005 has no annotation"):
        shared.mask("000000000005")
