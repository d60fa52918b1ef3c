"""COCO JSON with categories of one's own, in the layouts of annotation tools."""

import json
import pickle

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask

from umtfss.common.errors import DataError
from umtfss.data.coco_json import CocoJsonDataset, read_coco_classes

BOX = [[1, 1, 5, 1, 5, 3, 1, 3]]  # columns 1 to 4, rows 1 and 2
SIZE = (4, 6)


def annotation(number, image, category, segmentation, **more):
    own = {"id": number, "image_id": image, "category_id": category}
    return {**own, "segmentation": segmentation, "iscrowd": 0, **more}


def export(path, images, annotations, categories=((7, "sheep"), (3, "cow"), (1, "all"))):
    """Write an annotation file and blank images beside it; images are (id, file name)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {
        "images": [
            {"id": number, "file_name": name, "height": SIZE[0], "width": SIZE[1]}
            for number, name in images
        ],
        "categories": [{"id": number, "name": name} for number, name in categories],
        "annotations": annotations,
    }
    path.write_text(json.dumps(content))


def draw(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", SIZE[::-1]).save(path)


def opened(root):
    return CocoJsonDataset("own", root, read_coco_classes(root))


@pytest.fixture
def roboflow(tmp_path):
    """A folder a split, images beside the file; the file of `test` is not read."""
    for split, number in (("train", 1), ("valid", 2), ("test", 3)):
        draw(tmp_path / f"{split}/a{number}.jpg")
        found = [
            annotation(1, number, 7, BOX),
            annotation(2, number, 3, [[0, 0, 2, 0, 2, 2, 0, 2]]),
        ]
        export(tmp_path / f"{split}/_annotations.coco.json", [(number, f"a{number}.jpg")], found)
    return tmp_path


def test_folders_of_splits(roboflow):
    dataset = opened(roboflow)
    assert dataset.class_names == {1: "cow", 2: "sheep"}  # `all` has no annotation
    assert (dataset.ids("train"), dataset.ids("val")) == (["train/a1"], ["valid/a2"])
    expected = np.zeros(SIZE, int)
    expected[1:3, 1:5] = 2
    expected[0:2, 0:2] = 1  # the later one covers the earlier one
    np.testing.assert_array_equal(dataset.mask("train/a1"), expected)
    assert dataset.image("valid/a2").shape == (*SIZE, 3)
    assert pickle.loads(pickle.dumps(dataset)).ids("val") == ["valid/a2"]


def test_without_a_file_for_val_the_test_file_is_tested(roboflow):
    (roboflow / "valid/_annotations.coco.json").unlink()
    assert opened(roboflow).ids("val") == ["test/a3"]


@pytest.fixture
def cvat(tmp_path):
    """One file, images in `images/`, run-length masks of both kinds."""
    names = [f"{number:02}.png" for number in range(40)]
    for name in names:
        draw(tmp_path / "images/default" / name)
    inside = np.zeros(SIZE, np.uint8, order="F")
    inside[1:3, 1:5] = 1
    plain = {"size": [*SIZE], "counts": [5, 2, 2, 2, 2, 2, 2, 2, 5]}
    packed = coco_mask.encode(inside)
    packed["counts"] = packed["counts"].decode()
    found = [annotation(1, 0, 7, plain, iscrowd=1), annotation(2, 1, 3, packed)]
    path = tmp_path / "annotations/instances_default.json"
    export(path, list(enumerate(names)), found)
    return tmp_path, inside


def test_one_file_is_split_by_drawing_and_run_length_masks_are_painted(cvat):
    root, inside = cvat
    dataset = opened(root)
    train, val = dataset.ids("train"), dataset.ids("val")
    assert sorted(train + val) == [f"images/default/{number:02}" for number in range(40)]
    assert 4 <= len(val) <= 16
    np.testing.assert_array_equal(dataset.mask("images/default/00"), 2 * inside)
    np.testing.assert_array_equal(dataset.mask("images/default/01"), inside)
    assert not dataset.mask("images/default/02").any()


def test_folds_are_data_of_the_folder(roboflow):
    assert read_coco_classes(roboflow).folds == ((1,), (2,))
    (roboflow / "folds.txt").write_text("sheep\ncow\n")
    assert read_coco_classes(roboflow).folds == ((2,), (1,))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda raw: raw["annotations"][0].update(segmentation=[], bbox=[0, 0, 1, 1]),
            "a box alone",
        ),
        (lambda raw: raw["annotations"][0].update(category_id=9), "no image or no category"),
        (lambda raw: raw["images"][0].update(file_name="moon.jpg"), "moon.jpg, which is not"),
        (lambda raw: raw["images"][0].update(file_name="../train/a1.jpg"), "which is not there"),
        (lambda raw: raw["images"].append({**raw["images"][0], "id": 9}), "named before"),
        (lambda raw: raw["annotations"][0]["segmentation"][0].append(900.0), "coordinates from"),
        (lambda raw: raw["annotations"][0].pop("image_id"), "KeyError: 'image_id'"),
    ],
)
def test_what_cannot_be_read_is_named(roboflow, change, message):
    path = roboflow / "train/_annotations.coco.json"
    raw = json.loads(path.read_text())
    change(raw)
    path.write_text(json.dumps(raw))
    with pytest.raises(DataError, match=message):
        opened(roboflow).ids("train")


def test_run_length_masks_of_another_size_are_refused(cvat):
    root, _ = cvat
    path = root / "annotations/instances_default.json"
    raw = json.loads(path.read_text())
    raw["annotations"][0]["segmentation"]["size"] = [6, 4]
    raw["annotations"][1]["segmentation"]["counts"] = [400]
    path.write_text(json.dumps(raw))
    for name in ("00", "01"):
        with pytest.raises(DataError, match="cannot be painted"):
            opened(root).mask(f"images/default/{name}")


def test_a_folder_without_annotations_says_what_is_expected(tmp_path):
    (tmp_path / "settings.json").write_text("{}")
    with pytest.raises(DataError, match=r"holds no COCO annotations(?s:.*)settings\.json"):
        read_coco_classes(tmp_path)
