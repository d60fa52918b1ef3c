"""Writing and reading the procedural data set."""

import numpy as np
import pytest

from umtfss.common.errors import DataError
from umtfss.data.shape_looks import CLASS_NAMES
from umtfss.data.shapes import ShapesDataset, object_classes, write_shapes
from umtfss.experiment.datasets import ShapesConfig

SMALL = ShapesConfig(train_images=3, val_images=2, height=64, width=80)


@pytest.fixture
def root(tmp_path):
    write_shapes(tmp_path / "shapes", SMALL)
    return tmp_path / "shapes"


def times(root):
    return {path.name: path.stat().st_mtime_ns for path in root.rglob("*.png")}


def test_written_images_are_read_back(root):
    dataset = ShapesDataset("toys", root, SMALL)
    assert dataset.ids("train") == ["train_00000", "train_00001", "train_00002"]
    assert dataset.ids("val") == ["val_00000", "val_00001"]
    for image_id in dataset.ids("train") + dataset.ids("val"):
        assert dataset.image(image_id).shape == (64, 80, 3)
        mask = dataset.mask(image_id)
        assert mask.shape == (64, 80)
        assert set(np.unique(mask)) <= {0, *dataset.class_names, 255}
        assert mask.max() > 0


def test_images_differ_from_each_other(root):
    dataset = ShapesDataset("toys", root, SMALL)
    pictures = [dataset.image(i).tobytes() for s in ("train", "val") for i in dataset.ids(s)]
    assert len(set(pictures)) == 5


def test_writing_goes_on_where_it_stopped(root):
    before = times(root)
    (root / "images" / "val_00001.png").unlink()
    (root / "val.txt").unlink()
    with pytest.raises(DataError, match=r"does not hold the shapes(?s:.*)unfinished"):
        ShapesDataset("toys", root, SMALL)
    write_shapes(root, SMALL)
    after = times(root)
    assert after.keys() == before.keys()
    assert {name for name in after if after[name] != before[name]} == {"val_00001.png"}
    ShapesDataset("toys", root, SMALL)


def test_processes_draw_the_same(root):
    write_shapes(root.parent / "two", SMALL, workers=2)
    for path in sorted(root.rglob("*.*")):
        assert path.read_bytes() == (root.parent / "two" / path.relative_to(root)).read_bytes()


def test_more_images_keep_the_first_ones(root):
    before = times(root)
    longer = SMALL.model_copy(update={"val_images": 4})
    write_shapes(root, longer)
    assert before.items() <= times(root).items()
    assert len(ShapesDataset("toys", root, longer).ids("val")) == 4
    with pytest.raises(DataError, match="does not hold"):
        ShapesDataset("toys", root, SMALL)


def test_a_development_split_is_apart_and_leaves_the_others_alone(root):
    before = times(root)
    longer = SMALL.model_copy(update={"dev_images": 2})
    write_shapes(root, longer)
    assert before.items() <= times(root).items()
    dataset = ShapesDataset("toys", root, longer)
    assert dataset.ids("dev") == ["dev_00000", "dev_00001"]
    others = [dataset.image(one).tobytes() for one in dataset.ids("train") + dataset.ids("val")]
    assert not {dataset.image(one).tobytes() for one in dataset.ids("dev")} & set(others)


def test_another_seed_draws_everything_anew(root):
    one = ShapesDataset("toys", root, SMALL).image("val_00000")
    other = SMALL.model_copy(update={"seed": 1})
    assert write_shapes(root, other) != write_shapes(root.parent / "again", SMALL)
    assert (ShapesDataset("toys", root, other).image("val_00000") != one).any()
    again = ShapesDataset("toys", root.parent / "again", SMALL).image("val_00000")
    np.testing.assert_array_equal(again, one)


def test_objects_of_more_parts_are_another_world(root):
    one, before = ShapesDataset("toys", root, SMALL), (root / "recipe.json").read_text()
    picture, mask = one.image("val_00000"), one.mask("val_00000")
    assert "parts" not in before  # toys keep their recipe
    mosaics = SMALL.model_copy(update={"parts": 6})
    with pytest.raises(DataError, match="does not hold"):
        ShapesDataset("toys", root, mosaics)
    write_shapes(root, mosaics)
    other = ShapesDataset("toys", root, mosaics)
    assert (other.image("val_00000") != picture).any()
    np.testing.assert_array_equal(other.mask("val_00000"), mask)


def test_foreign_folders_are_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("mine")
    with pytest.raises(DataError, match=r"not empty(?s:.*)thesis\.tex"):
        write_shapes(tmp_path, SMALL)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_classes_come_equally_often():
    shown = [object_classes(0, "val", number) for number in range(240)]
    assert {len(classes) for classes in shown} == {1, 2}
    front = np.bincount([classes[-1] for classes in shown], minlength=21)[1:]
    assert (front == 12).all()
    anywhere = np.bincount([c for classes in shown for c in classes], minlength=21)[1:]
    assert len(anywhere) == len(CLASS_NAMES) == 20
    assert anywhere.min() >= 14
