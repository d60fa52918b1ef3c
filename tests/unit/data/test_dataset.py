"""Opening data sets, and the catalog of qualified ids."""

import pickle

import numpy as np
import pytest
from PIL import Image

from umtfss.common.errors import DataError
from umtfss.data.catalog import Catalog
from umtfss.data.open import open_dataset
from umtfss.data.shapes import write_shapes
from umtfss.data.source import DatasetSource
from umtfss.experiment.datasets import ShapesConfig

PHOTOS = DatasetSource("photos", "folder", "photos")


@pytest.fixture
def catalog(tmp_path):
    (tmp_path / "photos" / "sub").mkdir(parents=True)
    Image.new("RGB", (7, 5), (1, 2, 3)).save(tmp_path / "photos" / "sub" / "a.png")
    small = ShapesConfig(train_images=1, val_images=1, height=64, width=64)
    write_shapes(tmp_path / "shapes", small)
    toys = DatasetSource("toys", "shapes", str(tmp_path / "shapes"), small)
    return Catalog(
        {
            "photos": open_dataset(PHOTOS, tmp_path),
            "toys": open_dataset(toys),
        }
    )


def test_catalog_splits_ids_at_the_first_slash(catalog):
    assert (catalog.image("photos/sub/a.png") == [1, 2, 3]).all()
    np.testing.assert_array_equal(
        catalog.mask("toys/val_00000"), catalog.datasets["toys"].mask("val_00000")
    )


def test_catalog_can_be_sent_to_another_process(catalog):
    copy = pickle.loads(pickle.dumps(catalog))
    np.testing.assert_array_equal(copy.image("toys/val_00000"), catalog.image("toys/val_00000"))


@pytest.mark.parametrize("qualified", ["nowhere/a", "a", "photos/"])
def test_catalog_names_unknown_ids(catalog, qualified):
    with pytest.raises(DataError, match=r"no data set holds(?s:.*)\['photos', 'toys'\]"):
        catalog.image(qualified)


@pytest.mark.parametrize("kind", ["voc2012", "coco", "folder"])
def test_absent_folder_is_named(tmp_path, kind):
    with pytest.raises(DataError, match="folder of data set 'mine' does not exist"):
        open_dataset(DatasetSource("mine", kind, "x"), tmp_path)
