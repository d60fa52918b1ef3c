"""The results as a ZIP file."""

import csv
import io
import json
import zipfile
from itertools import pairwise

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO
from skimage.draw import polygon2mask

from tests.unit.predict.drawn import iou
from umtfss.common.errors import DataError
from umtfss.predict.annotations import encode
from umtfss.predict.serve import photo as photo_module
from umtfss.predict.serve.archive import enlarged_labels, write_archive


@pytest.fixture
def results(filled, tmp_path):
    """A session with a mask of the user, a find and a photo without results; and its archive."""
    filled.add_object("cow")
    (tmp_path / "drawn/deep").mkdir()
    Image.new("RGB", (64, 48), (20, 160, 20)).save(tmp_path / "drawn/deep/last.jpg")
    filled.add_file(tmp_path / "drawn/deep/last.jpg", "deep/last.jpg")
    marked = np.zeros((120, 200), np.uint8)
    marked[20:80, 20:100] = 2
    filled.mark(filled.photo(1), marked, ["red", "cow"])
    found = np.zeros((48, 64), np.uint8)
    found[:24] = 1
    filled.set_found(
        filled.photo(4),
        [
            {"name": "cow", "score": 0.1, "share": 0, "runs": encode(found == 2)},
            {"name": "red", "score": 0.7, "share": 0.5, "runs": encode(found == 1)},
        ],
        1,
    )
    filled.mark(filled.photo(3), np.zeros((120, 200), np.uint8), ["red", "cow"])
    write_archive(filled, tmp_path / "results.zip")
    with zipfile.ZipFile(tmp_path / "results.zip") as file:
        return {"one": marked, "deep/last": found}, {n: file.read(n) for n in file.namelist()}


def test_every_kind_has_a_folder(results):
    _, files = results
    ends = {"labelme": "json", "masks": "png", "overlays": "png"}
    stems = ("blue", "deep/last", "one")
    kinds = [f"{kind}/{stem}.{end}" for kind, end in ends.items() for stem in stems]
    assert sorted(files) == sorted([*kinds, "classes.txt", "coco.json", "scores.csv"])
    assert files["classes.txt"] == b"red\ncow\n"


def test_masks_hold_the_numbers_of_the_objects(results):
    expected, files = results
    for stem, labels in expected.items():
        mask = Image.open(io.BytesIO(files[f"masks/{stem}.png"]))
        np.testing.assert_array_equal(np.array(mask), labels)
    assert not np.array(Image.open(io.BytesIO(files["masks/blue.png"]))).any()


def test_coco_json_reads_back_with_its_own_reader(results, tmp_path):
    expected, files = results
    (tmp_path / "coco.json").write_bytes(files["coco.json"])
    coco = COCO(str(tmp_path / "coco.json"))
    names = {one["id"]: one["name"] for one in coco.cats.values()}
    assert names == {1: "red", 2: "cow"}
    found = {}
    for one in coco.anns.values():
        file = coco.imgs[one["image_id"]]["file_name"]
        found[file] = (one["category_id"], one["score"], coco.annToMask(one) > 0)
    assert set(found) == {"one.png", "deep/last.jpg"}
    assert found["one.png"][:2] == (2, 1.0)  # a mask of the user is certain
    assert found["deep/last.jpg"][:2] == (1, 0.7)
    for file, (value, _, mask) in found.items():
        assert iou(mask, expected[file.rsplit(".", 1)[0]] == value) > 0.97


def test_labelme_files_belong_beside_the_photos(results):
    expected, files = results
    content = json.loads(files["labelme/deep/last.json"])
    assert content["imagePath"] == "last.jpg"
    (shape,) = content["shapes"]
    assert shape["label"] == "red"
    corners = np.array(shape["points"])[:, ::-1] - 0.5
    assert iou(polygon2mask((48, 64), corners), expected["deep/last"] == 1) > 0.97
    assert json.loads(files["labelme/blue.json"])["shapes"] == []


def test_scores_say_what_is_where(results):
    _, files = results
    rows = list(csv.DictReader(files["scores.csv"].decode().splitlines()))
    assert [(row["photo"], row["object"], float(row["score"])) for row in rows] == [
        ("one.png", "red", 0.0), ("one.png", "cow", 1.0), ("blue.png", "red", 0.0),
        ("blue.png", "cow", 0.0), ("deep/last.jpg", "red", 0.7), ("deep/last.jpg", "cow", 0.1),
    ]  # fmt: skip


def test_an_empty_session_says_what_to_do(filled, tmp_path):
    with pytest.raises(DataError, match="nothing to export yet"):
        write_archive(filled, tmp_path / "results.zip")
    assert not (tmp_path / "results.zip").exists()


def test_results_have_the_size_of_the_photo(session, tmp_path, monkeypatch):
    monkeypatch.setattr(photo_module, "LONG_SIDE", 50)
    Image.new("RGB", (200, 120)).save(tmp_path / "a.png")
    photo = session.add_file(tmp_path / "a.png", "a.png")
    assert photo.size == (30, 50)
    session.add_object("red")
    labels = np.zeros(photo.size, np.uint8)
    labels[5:25, 10:40] = 1
    session.mark(photo, labels, ["red"])
    write_archive(session, tmp_path / "results.zip")
    with zipfile.ZipFile(tmp_path / "results.zip") as file:
        mask = np.array(Image.open(io.BytesIO(file.read("masks/a.png"))))
    expected = np.zeros((120, 200), bool)
    expected[20:100, 40:160] = True
    assert mask.shape == expected.shape
    assert iou(mask == 1, expected) > 0.97


def test_enlarged_borders_are_smooth():
    rows, columns = np.mgrid[:20, :20]
    labels = (rows > columns).astype(np.uint8) * 3
    large = enlarged_labels(labels, (160, 160))
    assert set(np.unique(large)) == {0, 3}
    rows, columns = np.mgrid[:160, :160]
    assert ((large == 3) == (rows > columns + 4)).mean() > 0.99
    border = (large[80:, :] == 3).argmin(1)  # where the lower rows end
    assert max(abs(b - a) for a, b in pairwise(border[:-8])) <= 3  # blocks would step by 8 px
