"""The readers on real images: VOC 2012, a subset of COCO, ImageNet photos."""

import json

import numpy as np
import pytest
from pycocotools.coco import COCO

from umtfss.common.errors import DataError
from umtfss.data.disjoint import refuse_test_images
from umtfss.data.index import DatasetIndex, build_index
from umtfss.data.open import open_dataset
from umtfss.data.source import DatasetSource
from umtfss.experiment.datasets import DatasetConfig, ExpectedCounts

VOC = DatasetConfig(
    kind="voc2012",
    folder="voc2012",
    expected_images={"val": 1449},
    expected_fold_images={"val": [364, 445, 592, 336]},
    expected_smallest_class={"val": [61, 69, 73, 53]},
)


@pytest.fixture(scope="module")
def voc_val(data_root):
    dataset = open_dataset(DatasetSource("pascal", "voc2012", "voc2012"), data_root)
    return dataset, build_index(dataset, "val", VOC.expected("val"), workers=1)


def test_voc_val_has_the_counts_of_the_protocol(voc_val, tmp_path):
    _, index = voc_val
    assert len(index.image_ids) == 1449
    assert index.sizes.max() <= 500
    index.save(tmp_path / "val.json")
    assert (tmp_path / "val.json").stat().st_size < 150_000
    assert DatasetIndex.load(tmp_path / "val.json").checksum == index.checksum


def test_voc_areas_are_those_of_the_masks(voc_val):
    dataset, index = voc_val
    for image_id in index.image_ids[::200]:
        mask = dataset.mask(image_id.split("/")[1])
        assert mask.shape == dataset.image(image_id.split("/")[1]).shape[:2]
        assert index.areas[image_id] == {
            int(c): int((mask == c).sum()) for c in np.unique(mask) if c not in (0, 255)
        }


@pytest.mark.parametrize(
    ("kind", "folder", "split"),
    [
        ("voc2012", "voc2012", "train"),
        ("folder", "imagenet1000_unlabelled", "all"),
        ("folder", "coco_subset", "all"),
    ],
)
def test_no_pool_holds_a_test_image_of_voc(data_root, voc_val, kind, folder, split):
    _, val = voc_val
    dataset = open_dataset(DatasetSource("pool", kind, folder), data_root)
    pool = build_index(dataset, split, ExpectedCounts(kind, 1), workers=1)
    refuse_test_images(pool, [val])
    assert pool.image_ids


def test_no_training_image_of_coco_is_a_test_image(data_root):
    dataset = open_dataset(DatasetSource("coco", "coco", "coco_subset"), data_root)
    train, val = (build_index(dataset, s, ExpectedCounts("coco", 1), 1) for s in ("train", "val"))
    refuse_test_images(train, [val])
    photos = open_dataset(DatasetSource("photos", "folder", "coco_subset"), data_root)
    with pytest.raises(DataError, match=f"{len(val.image_ids)} of 318 images of photos/all"):
        refuse_test_images(build_index(photos, "all", ExpectedCounts("folder", 1), 1), [val])


def test_wrong_expectation_of_voc_is_noticed(data_root, voc_val):
    dataset, _ = voc_val
    dataset.ids = lambda split: type(dataset).ids(dataset, split)[:30]
    try:
        with pytest.raises(
            DataError, match=r"expected 1449, found 30(?s:.*)\[364, 445, 592, 336\]"
        ):
            build_index(dataset, "val", VOC.expected("val"), workers=1)
    finally:
        del dataset.ids


@pytest.mark.parametrize("split", ["train", "val"])
def test_coco_masks_equal_those_painted_by_pycocotools(data_root, split):
    root = data_root / "coco_subset"
    dataset = open_dataset(DatasetSource("coco", "coco", str(root)))
    reference = COCO(root / "annotations" / f"instances_{split}2017.json")
    class_of = {category: n for n, category in enumerate(sorted(reference.cats), 1)}
    assert dataset.class_names == {
        n: reference.cats[category]["name"] for category, n in class_of.items()
    }
    ids = dataset.ids(split)
    assert [int(i) for i in ids] == sorted(reference.imgToAnns)
    crowds = 0
    for image_id in ids:
        mask = dataset.mask(image_id)
        expected = np.zeros_like(mask)
        for annotation in reference.imgToAnns[int(image_id)]:
            if annotation["iscrowd"]:
                crowds += 1
            else:
                inside = reference.annToMask(annotation).astype(bool)
                expected[inside] = class_of[annotation["category_id"]]
        np.testing.assert_array_equal(mask, expected, image_id)
    assert crowds > 10


def test_coco_index_verifies(data_root):
    settings = DatasetConfig(kind="coco", folder="coco_subset")
    dataset = open_dataset(DatasetSource("coco", "coco", "coco_subset"), data_root)
    index = build_index(dataset, "val", settings.expected("val"), workers=1)
    path = data_root / "coco_subset" / "annotations" / "instances_val2017.json"
    sizes = {i["id"]: [i["height"], i["width"]] for i in json.loads(path.read_text())["images"]}
    assert index.sizes.tolist() == [sizes[int(i.split("/")[1])] for i in index.image_ids]
    assert len(index.class_pool(1, 2048)) > 40  # people are in most pictures


def test_folder_of_photos_opens(data_root):
    source = DatasetSource("photos", "folder", "imagenet1000_unlabelled")
    dataset = open_dataset(source, data_root)
    assert len(dataset.ids("all")) == 1000
    assert dataset.image(dataset.ids("all")[0]).ndim == 3
