"""Pseudo-masks of small made-up images, from features to the file."""

import numpy as np
import pytest
import torch

from umtfss.common.errors import DataError, StoreError
from umtfss.experiment.pseudo_masks import PseudoMasksConfig
from umtfss.features.geometry import GridGeometry
from umtfss.pseudo_masks import workers as workers_module
from umtfss.pseudo_masks.make import make_pseudo_masks, make_saliency_masks
from umtfss.pseudo_masks.store import PseudoMaskStore

LITERAL = PseudoMasksConfig(superpixels="off", min_area=50)


class Features:
    """Images of 48 x 64 px with one square; grid of 8 px cells, one channel per cluster."""

    geometry = GridGeometry({"top": 3}, 64, 8, 8, align_corners=False)

    def __init__(self, count):
        self.ids = tuple(f"set/{i}" for i in range(count))

    def square(self, image_id):
        i = int(image_id.split("/")[1])
        return slice(8, 24 + 8 * (i % 2)), slice(8 * (1 + i % 4), 8 * (4 + i % 4))

    def truth(self, image_id):
        labels = np.zeros((48, 64), np.uint8)
        labels[self.square(image_id)] = 1 + int(image_id.split("/")[1]) % 2
        return labels

    def grid(self, image_id):
        return (6, 8)

    def image_size(self, image_id):
        return (48, 64)

    def read(self, image_id, level):
        return 5 * np.eye(3, dtype=np.float16)[self.truth(image_id)[4::8, 4::8]]


class Images:
    def __init__(self, store, size=(48, 64)):
        self.store, self.size = store, size

    def image(self, image_id):
        colours = np.array([[20, 20, 20], [200, 90, 30], [40, 160, 220]], np.uint8)
        return colours[self.store.truth(image_id)][: self.size[0], : self.size[1]]


def make(tmp_path, settings, count=6, workers=1, name="masks.h5"):
    store = Features(count)
    centroids = np.eye(3, dtype=np.float32)
    digest = make_pseudo_masks(
        store, "top", Images(store), store.ids, centroids, settings, tmp_path / name, workers
    )
    return store, PseudoMaskStore([tmp_path / name]), digest


def test_superpixels_recover_the_squares_exactly(tmp_path):
    settings = PseudoMasksConfig(min_area=50, min_size=20, sigma=0)
    features, store, _ = make(tmp_path, settings)
    assert store.ids == features.ids
    for image_id in store.ids:
        truth = features.truth(image_id)
        # cluster 0 surrounds the square and spans the image: background
        np.testing.assert_array_equal(store.label_map(image_id), np.where(truth, truth, 255))
    np.testing.assert_array_equal(store.regions.image, np.arange(6))
    np.testing.assert_array_equal(store.regions.cluster, [1, 2] * 3)
    np.testing.assert_array_equal(
        store.regions.area, [(features.truth(i) > 0).sum() for i in store.ids]
    )
    np.testing.assert_allclose(store.regions.feature, np.eye(3)[[1, 2] * 3], atol=1e-6)


def test_without_superpixels_no_image_is_read(tmp_path):
    store, centroids = Features(4), np.eye(3, dtype=np.float32)
    path = tmp_path / "off.h5"
    make_pseudo_masks(store, "top", None, store.ids, centroids, LITERAL, path, 1)
    masks = PseudoMaskStore([path])
    for image_id in masks.ids:
        inside = masks.label_map(image_id) != 255
        truth = store.truth(image_id) > 0
        assert (inside & truth).sum() / (inside | truth).sum() > 0.9


def test_small_regions_are_left_out_and_said_to_be(tmp_path, caplog):
    make(tmp_path, LITERAL)
    assert not caplog.records
    settings = PseudoMasksConfig(superpixels="off", min_area=2048)
    _, store, _ = make(tmp_path, settings)
    assert "only 0 of 6 images hold a valid region" in caplog.text
    assert len(store.regions) == 0
    assert all((store.label_map(i) == 255).all() for i in store.ids)


def test_digest_does_not_depend_on_workers(tmp_path, monkeypatch):
    monkeypatch.setattr(workers_module, "SLAB", 2)  # several slabs
    threads = torch.get_num_threads()
    settings = PseudoMasksConfig(min_area=50, min_size=20)
    _, one, first = make(tmp_path, settings, 11, workers=1)
    _, two, second = make(tmp_path, settings, 11, workers=2, name="two.h5")
    assert first == second
    assert one.ids == two.ids
    for image_id in one.ids:
        np.testing.assert_array_equal(one.label_map(image_id), two.label_map(image_id))
    assert torch.get_num_threads() == threads
    assert make(tmp_path, LITERAL, 11, name="three.h5")[2] != first


def test_centroids_of_another_level(tmp_path):
    store, centroids = Features(1), np.eye(4, dtype=np.float32)
    with pytest.raises(StoreError, match=r"do not fit(.|\n)*3 channels(.|\n)*4 channels"):
        make_pseudo_masks(store, "top", None, store.ids, centroids, LITERAL, tmp_path / "a.h5", 1)


@pytest.mark.parametrize("workers", [1, 2])
def test_image_of_another_size_leaves_no_file(tmp_path, workers):
    store, centroids = Features(3), np.eye(3, dtype=np.float32)
    settings = PseudoMasksConfig(min_area=50)
    with pytest.raises(DataError, match="set/0 is not the one whose features are stored"):
        make_pseudo_masks(
            store,
            "top",
            Images(store, (40, 64)),
            store.ids,
            centroids,
            settings,
            tmp_path / "a.h5",
            workers,
        )
    assert not list(tmp_path.iterdir())


def salient(tmp_path, settings, count=6, workers=1, name="salient.h5"):
    store = Features(count)
    digest = make_saliency_masks(
        store, "top", Images(store), store.ids, settings, tmp_path / name, workers
    )
    return store, PseudoMaskStore([tmp_path / name]), digest


def test_cluster_0_is_the_salient_region(tmp_path):
    settings = PseudoMasksConfig(min_area=50, min_size=20, sigma=0)
    features, store, _ = salient(tmp_path, settings)
    assert store.clusters == 1
    np.testing.assert_array_equal(store.regions.image, np.arange(6))
    assert not store.regions.cluster.any()
    for row, image_id in enumerate(store.ids):
        truth = features.truth(image_id) > 0
        np.testing.assert_array_equal(store.label_map(image_id), np.where(truth, 0, 255))
        assert store.regions.area[row] == truth.sum()
    np.testing.assert_allclose(store.regions.feature, np.eye(3)[[1, 2] * 3], atol=1e-6)


def test_small_salient_regions_are_left_out_and_said_to_be(tmp_path, caplog):
    _, store, _ = salient(tmp_path, PseudoMasksConfig(superpixels="off", min_area=2000))
    assert "only 0 of 6 images hold a valid region" in caplog.text
    assert "pseudo_masks.min_area (2000 px)" in caplog.text
    assert "clusters" not in caplog.text
    assert len(store.regions) == 0
    assert all((store.label_map(i) == 255).all() for i in store.ids)


def test_salient_regions_do_not_depend_on_workers(tmp_path):
    settings = PseudoMasksConfig(min_area=50, min_size=20)
    _, one, first = salient(tmp_path, settings, 11)
    _, two, second = salient(tmp_path, settings, 11, workers=2, name="two.h5")
    assert first == second
    for image_id in one.ids:
        np.testing.assert_array_equal(one.label_map(image_id), two.label_map(image_id))
    assert salient(tmp_path, LITERAL, 11, name="three.h5")[2] != first
