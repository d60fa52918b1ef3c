"""The index: what it counts, what it refuses, and that it survives a save."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from umtfss.common.errors import DataError, StoreError
from umtfss.data.index import DatasetIndex, build_index
from umtfss.data.open import open_dataset
from umtfss.data.source import DatasetSource
from umtfss.experiment.datasets import DatasetConfig

SETTINGS = {"kind": "voc2012", "folder": "voc", "min_class_area": 20}
MASKS = {
    "a": [[1] * 10] * 4 + [[0] * 10] * 4,  # 40 px of class 1
    "b": [[1, 2] * 5] * 4 + [[255] * 10] * 4,  # 20 px of classes 1 and 2
    "c": [[0] * 10] * 8,  # nothing
    "d": [[6] * 10] * 7 + [[1] * 10],  # 70 px of class 6, 10 px of class 1
}


@pytest.fixture
def root(tmp_path):
    for folder in ("ImageSets", "JPEGImages", "SegmentationClassAug"):
        (tmp_path / "voc" / folder).mkdir(parents=True)
    for image_id, mask in MASKS.items():
        write_mask(tmp_path / "voc", image_id, np.array(mask, dtype=np.uint8))
        Image.new("RGB", (10, 8), "red").save(image_path(tmp_path / "voc", image_id))
    (tmp_path / "voc" / "ImageSets" / "val.txt").write_text("\n".join(MASKS))
    return tmp_path / "voc"


def image_path(root, image_id):
    return root / "JPEGImages" / f"{image_id}.jpg"


def write_mask(root, image_id, mask):
    Image.fromarray(mask, mode="L").save(root / "SegmentationClassAug" / f"{image_id}.png")


def index_of(root, workers=1, **settings):
    config = DatasetConfig.model_validate({**SETTINGS, **settings})
    return build_index(
        open_dataset(DatasetSource("pascal", config.kind, str(root))),
        "val",
        config.expected("val"),
        workers,
    )


def test_areas_sizes_and_pools(root):
    index = index_of(root)
    assert index.image_ids == ("pascal/a", "pascal/b", "pascal/c", "pascal/d")
    np.testing.assert_array_equal(index.sizes, [[8, 10]] * 4)
    assert index.areas == {
        "pascal/a": {1: 40},
        "pascal/b": {1: 20, 2: 20},
        "pascal/c": {},
        "pascal/d": {6: 70, 1: 10},
    }
    assert index.class_pool(1, 20) == ["pascal/a", "pascal/b"]
    assert index.class_pool(1, 21) == ["pascal/a"]
    assert index.images_with((2, 6), 20) == ["pascal/b", "pascal/d"]
    assert index.images_with((), 1) == []


def test_workers_do_not_change_the_index(root):
    assert index_of(root, workers=2).checksum == index_of(root).checksum


def test_saved_index_is_read_back_and_bytes_repeat(root, tmp_path):
    index = index_of(root)
    index.save(tmp_path / "one.json")
    loaded = DatasetIndex.load(tmp_path / "one.json")
    assert loaded.areas == index.areas
    assert loaded.image_ids == index.image_ids
    assert loaded.checksum == index.checksum
    np.testing.assert_array_equal(loaded.sizes, index.sizes)
    before = (tmp_path / "one.json").read_bytes()
    loaded.save(tmp_path / "one.json")
    assert (tmp_path / "one.json").read_bytes() == before


def test_any_changed_pixel_changes_the_checksum(root):
    before = index_of(root).checksum
    Image.new("RGB", (10, 8), "blue").save(image_path(root, "c"))
    recoloured = index_of(root).checksum
    write_mask(root, "a", np.array(MASKS["a"], dtype=np.uint8)[::-1])
    assert len({before, recoloured, index_of(root).checksum}) == 3


def test_every_bad_file_is_named_at_once(root):
    content = image_path(root, "a").read_bytes()
    image_path(root, "a").write_bytes(content[: len(content) // 2])
    write_mask(root, "b", np.zeros((8, 9), dtype=np.uint8))
    write_mask(root, "c", np.full((8, 10), 21, dtype=np.uint8))
    (root / "SegmentationClassAug" / "d.png").unlink()
    with pytest.raises(DataError) as caught:
        index_of(root)
    message = str(caught.value)
    assert "4 of 4 images of pascal/val" in message
    assert "a.jpg cannot be decoded" in message
    assert "b: the mask is (8, 9), the image (8, 10)" in message
    assert "c: the mask holds [21], expected 0 to 20 or 255" in message
    assert "image d of 'pascal' has no mask" in message


def test_expected_counts_pass_or_are_all_named(root):
    counts = {
        "expected_images": {"val": 4},
        "expected_fold_images": {"val": [2, 1, 1, 1]},
        "expected_smallest_class": {"val": [1, 1, 1, 1]},
    }
    with pytest.raises(DataError) as caught:
        index_of(root, **counts)
    message = str(caught.value)
    assert "expected [2, 1, 1, 1], found [2, 1, 0, 0]" in message
    assert "expected [1, 1, 1, 1], found [0, 0, 0, 0]" in message
    assert "images: expected" not in message
    with pytest.raises(DataError, match="images: expected 5, found 4"):
        index_of(root, expected_images={"val": 5})
    index_of(root, expected_images={"val": 4, "train": 99})


def test_folder_of_images_has_an_index_without_areas(tmp_path):
    (tmp_path / "sub").mkdir()
    Image.new("RGB", (6, 5)).save(tmp_path / "sub" / "a.png")
    config = DatasetConfig(kind="folder", folder="x")
    index = build_index(
        open_dataset(DatasetSource("photos", "folder", str(tmp_path))),
        "all",
        config.expected("all"),
        1,
    )
    assert index.image_ids == ("photos/sub/a.png",)
    assert index.areas == {"photos/sub/a.png": {}}
    index.save(tmp_path / "index.json")
    assert DatasetIndex.load(tmp_path / "index.json").image_ids == index.image_ids


def test_unusable_files_are_named(root, tmp_path):
    path = tmp_path / "index.json"
    with pytest.raises(StoreError, match=r"index\.json does not exist"):
        DatasetIndex.load(path)
    index_of(root).save(path)
    content = path.read_text()
    for broken, message in (
        (content[:50], "not JSON"),
        (json.dumps({"format": "umtfss-index", "version": 0}), "wrong version"),
        ("[1]", "no mapping"),
        (content.replace('"1":40', '"1":41'), "was altered"),
    ):
        assert broken != content
        path.write_text(broken)
        with pytest.raises(StoreError, match=message):
            DatasetIndex.load(path)


areas = st.dictionaries(st.integers(1, 20), st.integers(1, 5000), max_size=4)


@given(st.lists(areas, max_size=8), st.sets(st.integers(1, 20)), st.integers(1, 5000))
def test_images_with_is_the_union_of_class_pools(rows, classes, min_area):
    ids = tuple(f"d/{number}" for number in range(len(rows)))
    sizes = np.full((len(rows), 2), 100)
    index = DatasetIndex("d", "val", ids, sizes, dict(zip(ids, rows, strict=True)), "", ids)
    union = {i for c in classes for i in index.class_pool(c, min_area)}
    assert index.images_with(classes, min_area) == [i for i in ids if i in union]
    by_hand = {i for i, row in zip(ids, rows, strict=True) if row.get(7, 0) >= min_area}
    assert set(index.class_pool(7, min_area)) == by_hand


def test_reading_never_needs_the_data_set(root, tmp_path):
    index_of(root).save(tmp_path / "index.json")
    Path(root, "ImageSets", "val.txt").unlink()
    assert DatasetIndex.load(tmp_path / "index.json").class_pool(6, 1) == ["pascal/d"]


def test_an_empty_list_is_named(root):
    (root / "ImageSets" / "val.txt").write_text("\n")
    with pytest.raises(DataError, match="pascal/val lists no image"):
        index_of(root)
