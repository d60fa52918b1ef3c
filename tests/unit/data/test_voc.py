"""The reader of VOC 2012 and SBD, on folders written in both layouts."""

import pickle

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from umtfss.common.errors import DataError
from umtfss.data.voc import VocDataset

SHAPE = (6, 8)


def write_lists(folder, **lists):
    folder.mkdir(parents=True, exist_ok=True)
    for name, ids in lists.items():
        (folder / f"{name}.txt").write_text("\n".join(ids) + "\n")


def write_png(path, value):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(np.full(SHAPE, value, dtype=np.uint8), mode="P")
    image.putpalette(list(range(256)) * 3)
    image.save(path)


def write_mat(path, value):
    path.parent.mkdir(parents=True, exist_ok=True)
    mask = np.full(SHAPE, value, dtype=np.uint8)
    savemat(path, {"GTcls": {"Segmentation": mask, "CategoriesPresent": np.array([value])}})


@pytest.fixture
def official(tmp_path):
    voc, sbd = tmp_path / "VOCdevkit" / "VOC2012", tmp_path / "benchmark_RELEASE" / "dataset"
    write_lists(voc / "ImageSets" / "Segmentation", train=["b", "a"], val=["v2", "v1"])
    write_lists(sbd, train=["c", "a", "v1"], val=["d"])
    for image_id in ("a", "b", "v1", "v2"):
        write_png(voc / "SegmentationClass" / f"{image_id}.png", 3)
    for image_id in ("a", "c", "v1"):
        write_mat(sbd / "cls" / f"{image_id}.mat", 7)
    (voc / "JPEGImages").mkdir()
    for image_id in "abc":
        Image.new("RGB", SHAPE[::-1], (9, 90, 200)).save(voc / "JPEGImages" / f"{image_id}.jpg")
    return tmp_path


def test_official_train_is_both_train_lists_without_voc_val(official):
    dataset = VocDataset("pascal", official)
    assert dataset.ids("train") == ["a", "b", "c"]
    assert dataset.ids("val") == ["v1", "v2"]


def test_voc_masks_go_before_sbd_masks(official):
    dataset = VocDataset("pascal", official)
    assert (dataset.mask("a") == 3).all()
    assert (dataset.mask("c") == 7).all()
    assert dataset.mask("c").dtype == np.uint8
    assert dataset.mask("c").shape == SHAPE == dataset.image("c").shape[:2]


def test_augmented_masks_go_before_sbd_and_after_voc(official):
    for image_id in ("a", "c"):
        folder = official / "VOCdevkit" / "VOC2012" / "SegmentationClassAug"
        write_png(folder / f"{image_id}.png", 5)
    dataset = VocDataset("pascal", official)
    assert (dataset.mask("a") == 3).all()
    assert (dataset.mask("c") == 5).all()


def test_compact_layout_keeps_the_order_of_its_lists(tmp_path):
    write_lists(tmp_path / "ImageSets", train=["b", "a"], val=["v"])
    write_png(tmp_path / "SegmentationClassAug" / "b.png", 255)
    dataset = pickle.loads(pickle.dumps(VocDataset("pascal", tmp_path)))
    assert dataset.ids("train") == ["b", "a"]
    assert (dataset.mask("b") == 255).all()
    assert dataset.class_names[1] == "aeroplane"
    assert dataset.class_names[20] == "tvmonitor"


def test_lists_beside_the_official_ones_replace_them(official):
    write_lists(official / "VOCdevkit" / "VOC2012" / "ImageSets", train=["c"], val=["v2"])
    dataset = VocDataset("pascal", official)
    assert (dataset.ids("train"), dataset.ids("val")) == (["c"], ["v2"])
    assert (dataset.mask("c") == 7).all()
    assert (dataset.mask("v2") == 3).all()


def test_fit_and_dev_are_the_parts_of_train(tmp_path):
    train = [f"i{number:03}" for number in range(90)]
    write_lists(tmp_path / "ImageSets", train=train, val=["v"])
    dataset = VocDataset("pascal", tmp_path)
    fit, dev = dataset.ids("fit"), dataset.ids("dev")
    assert len(dev) == 30
    assert sorted(fit + dev) == train
    assert dev != train[:30]
    write_lists(tmp_path / "ImageSets", train=train[::-1])
    assert VocDataset("pascal", tmp_path).ids("dev") == dev  # the order of the list decides nothing


def test_missing_sbd_is_named(official):
    (official / "benchmark_RELEASE" / "dataset" / "train.txt").unlink()
    with pytest.raises(DataError, match=r"train\.txt does not exist(?s:.*)benchmark\.tgz"):
        VocDataset("pascal", official).ids("train")


def test_missing_mask_lists_every_place(official):
    with pytest.raises(DataError, match=r"SegmentationClass/(?s:.*)ClassAug/(?s:.*)q\.mat"):
        VocDataset("pascal", official).mask("q")


def test_damaged_mat_is_named(official):
    path = official / "benchmark_RELEASE" / "dataset" / "cls" / "c.mat"
    for content in (path.read_bytes()[:60], b""):
        path.write_bytes(content)
        with pytest.raises(DataError, match=r"c\.mat cannot be decoded"):
            VocDataset("pascal", official).mask("c")


def test_rgb_mask_is_refused(official):
    path = official / "VOCdevkit" / "VOC2012" / "SegmentationClass" / "a.png"
    Image.new("RGB", SHAPE[::-1], (128, 0, 0)).save(path)
    with pytest.raises(DataError, match=r"a\.png is not a mask of class ids"):
        VocDataset("pascal", official).mask("a")


@pytest.mark.parametrize("lines", [["a", "a"], ["/JPEGImages/a.jpg /Masks/a.png"]])
def test_malformed_lists_are_refused(tmp_path, lines):
    write_lists(tmp_path / "ImageSets", train=lines, val=["v"])
    with pytest.raises(DataError, match="not a list of distinct image ids"):
        VocDataset("pascal", tmp_path).ids("train")


def test_other_folders_are_refused(tmp_path):
    with pytest.raises(DataError, match="not a VOC 2012 folder"):
        VocDataset("pascal", tmp_path)
