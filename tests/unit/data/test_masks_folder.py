"""A labelled data set of one's own."""

import pickle

import numpy as np
import pytest
from PIL import Image

from umtfss.common.errors import DataError
from umtfss.data.class_list import read_class_list
from umtfss.data.masks_folder import MasksFolderDataset


def draw(path, values, **save):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.array(values, np.uint8)).save(path, **save)


def opened(folder):
    return MasksFolderDataset("own", folder, read_class_list(folder))


@pytest.fixture
def index_masks(tmp_path):
    """40 images with masks of values 0 to 2 and 255."""
    for number in range(40):
        draw(tmp_path / f"images/deep/{number:02}.jpg", np.full((4, 6, 3), number))
        draw(tmp_path / f"masks/deep/{number:02}.png", [[0, 1, 2, 255, 1, 1]] * 4)
    (tmp_path / "classes.txt").write_text("cow\nsheep\n")
    return tmp_path


def test_index_masks_hold_the_lines_of_the_list(index_masks):
    dataset = opened(index_masks)
    assert dataset.class_names == {1: "cow", 2: "sheep"}
    assert dataset.image("deep/03").shape == (4, 6, 3)
    np.testing.assert_array_equal(dataset.mask("deep/03")[0], [0, 1, 2, 255, 1, 1])
    again = pickle.loads(pickle.dumps(dataset))
    assert again.ids("train") == dataset.ids("train")


def test_a_folder_a_class_has_masks_beside_the_images(tmp_path):
    draw(tmp_path / "sheep/a.jpg", np.zeros((6, 12, 3)))
    draw(tmp_path / "sheep/a.png", [[0] * 4 + [7] * 4 + [255] * 4] * 6)
    draw(tmp_path / "cow/a.png", np.zeros((2, 3, 3)))
    draw(tmp_path / "cow/a-mask.png", [[0, 9, 9]] * 2)
    dataset = opened(tmp_path)
    assert sorted(dataset.ids("train") + dataset.ids("val")) == ["cow/a", "sheep/a"]
    np.testing.assert_array_equal(dataset.mask("sheep/a")[0], [0] * 4 + [2] * 8)
    np.testing.assert_array_equal(dataset.mask("cow/a")[0], [0, 1, 1])
    assert dataset.image("cow/a").shape == (2, 3, 3)


def test_an_image_keeps_its_drawn_split_when_others_are_added(index_masks):
    before = {split: opened(index_masks).ids(split) for split in ("train", "val")}
    assert 4 <= len(before["val"]) <= 16
    assert sorted(before["train"] + before["val"]) == [f"deep/{i:02}" for i in range(40)]
    for number in range(40, 60):
        draw(index_masks / f"images/deep/{number:02}.jpg", np.zeros((4, 6, 3)))
        draw(index_masks / f"masks/deep/{number:02}.png", np.zeros((4, 6)))
    for split, ids in before.items():
        assert set(ids) <= set(opened(index_masks).ids(split))


def test_lists_decide_the_splits(index_masks):
    (index_masks / "val.txt").write_text("deep/07\ndeep/03\n")
    assert opened(index_masks).ids("val") == ["deep/07", "deep/03"]
    assert len(opened(index_masks).ids("train")) == 38  # the rest
    (index_masks / "train.txt").write_text("deep/01\n")
    assert opened(index_masks).ids("train") == ["deep/01"]
    (index_masks / "train.txt").write_text("deep/01\nmoon\n")
    with pytest.raises(DataError, match=r"train\.txt lists images that are not there(?s:.*)moon"):
        opened(index_masks).ids("train")
    (index_masks / "train.txt").write_text("deep/01\ndeep/01\n")
    with pytest.raises(DataError, match="lists images twice"):
        opened(index_masks).ids("train")


def test_files_that_do_not_go_together_are_named(index_masks):
    (index_masks / "masks/deep/05.png").unlink()
    with pytest.raises(DataError, match=r"05\.jpg has no mask .*masks/deep/05\.png"):
        opened(index_masks).ids("val")
    draw(index_masks / "masks/deep/05.png", np.zeros((4, 6)))
    draw(index_masks / "images/deep/05.png", np.zeros((4, 6, 3)))
    with pytest.raises(DataError, match="have the same name"):
        opened(index_masks).ids("val")
    (index_masks / "images/deep/05.png").unlink()
    with pytest.raises(DataError, match="no image moon"):
        opened(index_masks).image("moon")


def test_photos_are_turned_upright(index_masks):
    exif = Image.Exif()
    exif[0x0112] = 6
    draw(index_masks / "images/deep/00.jpg", np.zeros((6, 4, 3)), exif=exif)
    assert opened(index_masks).image("deep/00").shape == (4, 6, 3)


def test_a_misnamed_folder_of_images_is_said(index_masks):
    (index_masks / "images").rename(index_masks / "pictures")
    with pytest.raises(DataError, match=r"neither the folder .*images nor .*cow"):
        opened(index_masks).ids("train")
