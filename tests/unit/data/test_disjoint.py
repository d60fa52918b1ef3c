"""Test images are recognised by their pixels, in every pool."""

import numpy as np
import pytest
from PIL import Image

from umtfss.common.errors import DataError
from umtfss.data.disjoint import refuse_test_images
from umtfss.data.index import build_index
from umtfss.data.open import open_dataset
from umtfss.data.source import DatasetSource
from umtfss.experiment.datasets import ExpectedCounts


@pytest.fixture
def index(tmp_path):
    """A function that writes pictures into a folder and indexes the folder."""

    def indexed(name, pictures):
        (tmp_path / name).mkdir()
        for file, pixels in pictures.items():
            Image.fromarray(pixels).save(tmp_path / name / file)
        dataset = open_dataset(DatasetSource(name, "folder", str(tmp_path / name)))
        return build_index(dataset, "all", ExpectedCounts("folder", 1), 1)

    return indexed


def random_picture(seed, height=6, width=8):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_test_images_are_named_whatever_their_names_are(index):
    tested = [
        index("one", {"a.png": random_picture(1), "b.png": random_picture(2)}),
        index("two", {"c.png": random_picture(3)}),
    ]
    pool = {"x.png": random_picture(3), "y.png": random_picture(4), "z.png": random_picture(1)}
    with pytest.raises(DataError) as caught:
        refuse_test_images(index("pool", pool), tested)
    message = str(caught.value)
    assert "2 of 3 images of pool/all" in message
    assert "pool/x.png is two/c.png" in message
    assert "pool/z.png is one/a.png" in message
    assert "y.png" not in message
    refuse_test_images(index("other", {"y.png": random_picture(4)}), tested)


def test_one_other_pixel_is_another_image_and_so_is_another_shape(index):
    picture = np.zeros((6, 8, 3), np.uint8)
    tested = [index("tested", {"a.png": picture})]
    changed = picture.copy()
    changed[3, 3, 1] = 1
    pool = {"changed.png": changed, "turned.png": picture.reshape(8, 6, 3)}
    refuse_test_images(index("pool", pool), tested)
