"""The object of made-up photos: its pixels, what is no object, its mean token and its cluster."""

import numpy as np
import pytest
from skimage.measure import label

from umtfss.common.errors import StoreError
from umtfss.features.geometry import GridGeometry
from umtfss.pseudo_masks import objects as module
from umtfss.pseudo_masks.make import make_object_masks
from umtfss.pseudo_masks.objects import ObjectFinder, object_features
from umtfss.pseudo_masks.store import PseudoMaskStore

GRID, SIZE, CELL, CHANNELS = (12, 16), (108, 144), 9, 8  # a cell has a pixel in its middle
MEANS = np.random.default_rng(7).standard_normal((4, CHANNELS))  # of the ground and of three things


class Photos:
    """Photos of things on a ground, noisy tokens; every photo is {thing: (rows, columns)}."""

    geometry = GridGeometry({"top": CHANNELS}, 144, 9, 9, align_corners=False)

    def __init__(self, *photos):
        self.photos = {f"set/{i}": photo for i, photo in enumerate(photos)}
        self.ids = tuple(self.photos)

    def things(self, image_id):
        """The thing that every token shows; 0 is the ground."""
        shown = np.zeros(GRID, int)
        for thing, place in self.photos[image_id].items():
            shown[place] = abs(thing)
        return shown

    def grid(self, image_id):
        return GRID

    def image_size(self, image_id):
        return SIZE

    def read(self, image_id, level):
        rng = np.random.default_rng(self.ids.index(image_id))
        noise = 0.1 * rng.standard_normal((*GRID, CHANNELS))
        return (MEANS[self.things(image_id)] + noise).astype(np.float16)


def box(top, left, height, width):
    return slice(top, top + height), slice(left, left + width)


def found(photo):
    store = Photos(photo)
    one = ObjectFinder(store, "top").find("set/0")
    return store, None if one is None else one[0][CELL // 2 :: CELL, CELL // 2 :: CELL]


def test_the_largest_part_is_the_object():
    store, mask = found({1: box(2, 2, 5, 5), -1: box(8, 11, 3, 3)})
    parts = label(store.things("set/0") > 0, connectivity=1)
    assert parts.max() == 2
    np.testing.assert_array_equal(mask, parts == parts[3, 3])


@pytest.mark.parametrize(
    "place",
    [
        box(4, 5, 3, 3),  # 4.7 % of the photo
        box(1, 1, 10, 14),  # 73 %
        box(0, 4, 12, 8),  # all rows, 29 % of the outline
    ],
)
def test_a_part_of_usual_size_is_an_object(place):
    store, mask = found({1: place})
    np.testing.assert_array_equal(mask, store.things("set/0") > 0)


def test_a_small_part_is_no_object():
    assert found({1: box(4, 5, 1, 1)})[1] is None


def test_a_large_part_is_no_object(monkeypatch):
    photo = {1: box(1, 1, 10, 14)}
    assert found(photo)[1] is not None
    monkeypatch.setattr(module, "MAX_AREA", 0.6)
    assert found(photo)[1] is None


def test_a_part_on_half_of_the_outline_is_no_object(monkeypatch):
    photo = {1: box(0, 2, 12, 12)}  # 43 % of the outline
    assert found(photo)[1] is not None
    monkeypatch.setattr(module, "MAX_OUTLINE", 0.4)
    assert found(photo)[1] is None


def test_features_are_the_mean_unit_tokens_of_the_objects():
    store = Photos({1: box(3, 3, 5, 5)}, {1: box(0, 0, 1, 1)}, {2: box(2, 6, 6, 6)})
    feature = object_features(store, "top", store.ids, workers=1)
    assert feature.shape == (2, CHANNELS)  # the second photo has no object
    for row, image_id in zip(feature, ("set/0", "set/2"), strict=True):
        tokens = store.read(image_id, "top").astype(np.float64)
        tokens /= np.linalg.norm(tokens, axis=-1, keepdims=True)
        mask, _ = ObjectFinder(store, "top").find(image_id)
        total = np.zeros(CHANNELS)
        for y, x in np.argwhere(mask):
            total += tokens[y // CELL, x // CELL]
        np.testing.assert_allclose(row, total / np.linalg.norm(total), atol=1e-5)


def test_features_do_not_depend_on_workers_or_on_the_order_of_the_shards():
    store = Photos(*({1 + i % 3: box(2 + i % 4, 3, 5, 5)} for i in range(9)))
    one = object_features(store, "top", store.ids, workers=1)
    np.testing.assert_array_equal(object_features(store, "top", store.ids, workers=2), one)
    sharded = [*store.ids[::2], *store.ids[1::2]]
    np.testing.assert_array_equal(object_features(store, "top", sharded, workers=1), one)


def test_masks_hold_the_object_under_its_nearest_cluster(tmp_path):
    store = Photos({1: box(3, 3, 5, 5)}, {1: box(0, 0, 1, 1)}, {2: box(2, 6, 6, 6)})
    centroids = (MEANS[1:] / np.linalg.norm(MEANS[1:], axis=1, keepdims=True)).astype(np.float32)
    make_object_masks(store, "top", store.ids, centroids, tmp_path / "a.h5", workers=1)
    masks = PseudoMaskStore([tmp_path / "a.h5"])
    assert masks.clusters == 3
    np.testing.assert_array_equal(masks.regions.image, [0, 2])
    np.testing.assert_array_equal(masks.regions.cluster, [0, 1])
    for row, image_id in enumerate(("set/0", "set/2")):
        labels = masks.label_map(image_id)
        mask, feature = ObjectFinder(store, "top").find(image_id)
        np.testing.assert_array_equal(labels, np.where(mask, row, 255))
        assert masks.regions.area[row] == mask.sum()
        np.testing.assert_array_equal(masks.regions.feature[row], feature)
    assert (masks.label_map("set/1") == 255).all()


def test_few_objects_are_said_to_be_few(tmp_path, caplog):
    store = Photos({1: box(3, 3, 5, 5)}, *[{1: box(0, 0, 1, 1)}] * 2)
    centroids = np.eye(2, CHANNELS, dtype=np.float32)
    make_object_masks(store, "top", store.ids, centroids, tmp_path / "a.h5", workers=1)
    assert "only 1 of 3 images hold a valid region" in caplog.text
    assert "photos of single objects" in caplog.text


def test_centroids_of_another_level(tmp_path):
    store = Photos({1: box(3, 3, 5, 5)})
    with pytest.raises(StoreError, match=r"do not fit(.|\n)*8 channels(.|\n)*4 channels"):
        make_object_masks(store, "top", store.ids, np.eye(4), tmp_path / "a.h5", workers=1)
