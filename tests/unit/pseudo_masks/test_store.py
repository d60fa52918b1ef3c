"""Shards written, read as one, sent to another process, and refused."""

import pickle

import numpy as np
import pytest
from loky import ProcessPoolExecutor

from umtfss.common.errors import StoreError
from umtfss.pseudo_masks.store import KIND, ImageRegions, PseudoMaskStore, ShardWriter


def random_image(rng, clusters=4, channels=6):
    labels = rng.integers(0, clusters, (int(rng.integers(5, 9)), 7), dtype=np.uint8)
    kept = np.flatnonzero(rng.random(clusters) < 0.6)
    labels[~np.isin(labels, kept)] = 255
    feature = rng.standard_normal((len(kept), channels)).astype(np.float32)
    feature /= np.linalg.norm(feature, axis=1, keepdims=True)
    pixels = np.sort(rng.integers(0, 50, (2, clusters)), axis=0)[::-1]
    return ImageRegions(labels, kept, rng.integers(1, 99, len(kept)), feature, pixels)


def write(path, ids, images, centroids="abc", **settings):
    facts = {}
    with KIND.create(path, facts) as file:
        writer = ShardWriter(file, ids, 4, 6, centroids, settings)
        for image in images:
            writer.append(image)
        facts["digest"] = writer.finish()
    return facts["digest"]


@pytest.fixture
def shards(tmp_path):
    """Two shards, and what is in them by id."""
    rng = np.random.default_rng(0)
    images = {f"set/{i}": random_image(rng) for i in range(9)}
    ids = list(images)
    for name, part in (("one.h5", ids[:5]), ("two.h5", ids[5:])):
        write(tmp_path / name, part, [images[i] for i in part])
    return [tmp_path / "one.h5", tmp_path / "two.h5"], images


def test_shards_are_read_as_one(shards):
    paths, images = shards
    store = PseudoMaskStore(paths)
    assert store.ids == tuple(images)
    assert store.clusters == 4
    assert len(store) == 9
    assert "set/8" in store
    assert "set/9" not in store
    for image_id, image in images.items():
        np.testing.assert_array_equal(store.label_map(image_id), image.label_map)


def test_regions_are_listed_image_after_image(shards):
    paths, images = shards
    regions = PseudoMaskStore(paths).regions
    parts = list(images.values())
    counts = [len(p.cluster) for p in parts]
    np.testing.assert_array_equal(regions.image, np.repeat(np.arange(9), counts))
    np.testing.assert_array_equal(regions.cluster, np.concatenate([p.cluster for p in parts]))
    np.testing.assert_array_equal(regions.area, np.concatenate([p.area for p in parts]))
    np.testing.assert_array_equal(regions.feature, np.concatenate([p.feature for p in parts]))
    for array in (regions.image, regions.cluster, regions.area):
        assert array.dtype == np.int32
    assert regions.feature.dtype == np.float32
    assert len(regions) == sum(counts)
    for cluster in range(4):
        np.testing.assert_array_equal(
            regions.cluster_features(cluster), regions.feature[regions.cluster == cluster]
        )


def test_regions_do_not_depend_on_how_images_are_spread_over_shards(shards, tmp_path):
    paths, images = shards
    ids = list(images)
    write(tmp_path / "even.h5", ids[::2], [images[i] for i in ids[::2]])
    write(tmp_path / "odd.h5", ids[1::2], [images[i] for i in ids[1::2]])
    one, other = (
        PseudoMaskStore(paths),
        PseudoMaskStore([tmp_path / "odd.h5", tmp_path / "even.h5"]),
    )
    assert one.ids == other.ids
    for name in ("image", "cluster", "area", "feature"):
        np.testing.assert_array_equal(getattr(one.regions, name), getattr(other.regions, name))
    for image_id, image in images.items():
        np.testing.assert_array_equal(other.label_map(image_id), image.label_map)


def test_clusters_that_lie_on_borders_are_left_out(shards):
    paths, images = shards
    store = PseudoMaskStore(paths)
    area, border = sum(image.pixels for image in images.values())
    ratio = [b / a / (border.sum() / area.sum()) for a, b in zip(area, border, strict=True)]
    np.testing.assert_allclose(store.border_ratio, ratio)
    limit = sorted(ratio)[1]
    kept = store.object_regions(limit)
    assert set(kept.cluster) == set(np.flatnonzero(store.border_ratio <= limit))
    for cluster in np.unique(kept.cluster):
        rows = store.regions.cluster == cluster
        np.testing.assert_array_equal(
            kept.image[kept.cluster == cluster], store.regions.image[rows]
        )
        np.testing.assert_array_equal(kept.cluster_features(cluster), store.regions.feature[rows])
    assert len(store.object_regions(None)) == len(store.regions)
    assert len(store.object_regions(0.01)) == 0


def test_images_without_regions(tmp_path):
    nothing = np.empty(0, int)
    pixels = np.zeros((2, 4), int)
    empty = ImageRegions(
        np.full((3, 3), 255, np.uint8), nothing, nothing, np.empty((0, 6), "f4"), pixels
    )
    write(tmp_path / "a.h5", ["set/a", "set/b"], [empty, empty])
    store = PseudoMaskStore([tmp_path / "a.h5"])
    assert len(store.regions) == 0
    assert store.regions.feature.shape[0] == 0
    assert (store.label_map("set/b") == 255).all()


def test_digest_is_that_of_the_content(tmp_path):
    def digest(seed, ids=("a/1", "a/2"), **settings):
        rng = np.random.default_rng(seed)
        return write(tmp_path / "x.h5", ids, [random_image(rng), random_image(rng)], **settings)

    first = digest(0)
    assert digest(0) == first
    assert PseudoMaskStore([tmp_path / "x.h5"]).digest
    assert len({first, digest(1), digest(0, ("a/1", "a/3")), digest(0, scale=2)}) == 4


def _read(store):
    return store.label_map("set/7"), store.regions.feature


def test_open_store_is_used_in_another_process(shards):
    paths, images = shards
    store = PseudoMaskStore(paths)
    here = _read(store)  # opens the files before the process starts
    with ProcessPoolExecutor(1) as pool:
        there = pool.submit(_read, store).result()
    for one, other in zip(here, there, strict=True):
        np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(here[0], images["set/7"].label_map)


def test_a_pickled_store_holds_no_arrays(shards):
    store = PseudoMaskStore(shards[0])
    size = len(pickle.dumps(store))
    assert len(store.regions.feature)
    assert len(pickle.dumps(store)) == size


def test_refusals(shards):
    paths, _ = shards
    with pytest.raises(StoreError, match="no pseudo-masks of image set/x"):
        PseudoMaskStore(paths).label_map("set/x")
    with pytest.raises(StoreError, match="at least one shard"):
        PseudoMaskStore([])
    with pytest.raises(StoreError, match="set/0 is in two shards"):
        PseudoMaskStore([paths[0], paths[0]])


@pytest.mark.parametrize("change", [{"centroids": "xyz"}, {"scale": 3}])
def test_shards_made_differently_are_refused(shards, tmp_path, change):
    rng = np.random.default_rng(5)
    write(tmp_path / "odd.h5", ["set/odd"], [random_image(rng)], **change)
    with pytest.raises(StoreError, match=r"differ in (centroids|settings)"):
        PseudoMaskStore([*shards[0], tmp_path / "odd.h5"])
