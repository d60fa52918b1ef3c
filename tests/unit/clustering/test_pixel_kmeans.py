"""Pixel k-means against scikit-learn, and its memory, order and errors."""

import faiss
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score

from umtfss.clustering import pixel_kmeans as module
from umtfss.clustering.centroids import load_centroids, save_centroids
from umtfss.clustering.pixel_kmeans import (
    fit_centroids,
    nearest_centroids,
    update_means,
)
from umtfss.clustering.token_stream import TokenStream
from umtfss.common.errors import DataError
from umtfss.experiment.clustering import ClusteringConfig
from umtfss.features.geometry import GridGeometry
from umtfss.features.store import unit_tokens


class Grids:
    """A feature store in memory that counts what is read."""

    def __init__(self, grids):
        self.grids = grids
        channels = next(iter(grids.values())).shape[-1]
        self.geometry = GridGeometry({"top": channels}, 6, 1, 1, align_corners=False)
        self.reads = []

    def grid(self, image_id):
        return self.grids[image_id].shape[:2]

    def read(self, image_id, level):
        assert level == "top"
        self.reads.append(image_id)
        return self.grids[image_id].astype(np.float16)


def make_blobs(directions):
    """40 images of 6 x 5 tokens around some directions, and the direction of each token."""
    rng = np.random.default_rng(0)
    truth = rng.integers(directions, size=(40, 6, 5))
    grids = 3 * (np.eye(8)[truth] + 0.08 * rng.standard_normal((40, 6, 5, 8)))
    return Grids({f"d/{i}": g for i, g in enumerate(grids)}), truth


def nearest(tokens, centroids):
    return ((tokens[:, None] - centroids) ** 2).sum(-1).argmin(1)


def tokens_of(store):
    return np.concatenate([unit_tokens(store, image_id, "top") for image_id in store.grids])


@settings(deadline=None)
@given(hnp.arrays(np.float16, (3, 2, 5), elements=st.floats(-100, 100, width=16)))
def test_unit_tokens_have_length_one_or_zero(grid):
    tokens = unit_tokens(Grids({"d/0": grid}), "d/0", "top")
    assert tokens.dtype == np.float32
    flat = grid.reshape(6, 5).astype(np.float64)
    lengths = np.linalg.norm(flat, axis=1, keepdims=True)
    np.testing.assert_allclose(tokens * lengths, flat, atol=1e-3)
    np.testing.assert_allclose(
        np.linalg.norm(tokens, axis=1), (lengths[:, 0] > 0).astype(float), atol=1e-5
    )


@pytest.mark.parametrize("count", [1, 50, 9000])
def test_nearest_centroids_equal_faiss_and_numpy(count):
    rng = np.random.default_rng(count)
    vectors = rng.normal(size=(count, 12)).astype(np.float32)
    centroids = rng.normal(size=(7, 12)).astype(np.float32)
    found = nearest_centroids(vectors, centroids)
    index = faiss.IndexFlatL2(12)
    index.add(centroids)
    np.testing.assert_array_equal(found, index.search(vectors, 1)[1][:, 0])
    np.testing.assert_array_equal(found, nearest(vectors, centroids))


@settings(deadline=None)
@given(st.lists(st.integers(1, 7), min_size=1, max_size=6), st.integers(1, 9))
def test_stream_yields_every_token_once_in_order(sizes, length):
    store = Grids({str(i): np.random.default_rng(i).random((n, 2, 3)) for i, n in enumerate(sizes)})
    stream = TokenStream(store, "top", list(store.grids))
    buffer, parts = np.empty((length, 3), np.float32), []
    while len(part := stream.fill(buffer)):
        parts.append(part.copy())
    assert all(len(part) == length for part in parts[:-1])
    np.testing.assert_array_equal(np.concatenate(parts), tokens_of(store))


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 20))
def test_running_means_are_the_means_of_all_vectors(seed, batch):
    rng = np.random.default_rng(seed)
    vectors, label = rng.standard_normal((50, 3)), rng.integers(4, size=50)
    centroids, counts = rng.standard_normal((6, 3)).astype(np.float32), np.zeros(6, np.int64)
    start = centroids.copy()
    for i in range(0, 50, batch):
        part = vectors[i : i + batch].astype(np.float32)
        centroids, counts = update_means(centroids, counts, part, label[i : i + batch])
    np.testing.assert_array_equal(counts, np.bincount(label, minlength=6))
    for c in range(6):
        expected = vectors[label == c].mean(0) if counts[c] else start[c]
        np.testing.assert_allclose(centroids[c], expected, atol=1e-5)


def test_agrees_with_sklearn_when_all_fits_memory():
    store, truth = make_blobs(4)
    fitted = fit_centroids(store, "top", list(store.grids), 4, ClusteringConfig(), seed=0)
    tokens = tokens_of(store)
    reference = KMeans(4, n_init=5, random_state=0).fit(tokens)
    assert fitted.shape == (4, 8)
    assert fitted.dtype == np.float32
    assert adjusted_rand_score(nearest(tokens, fitted), truth.ravel()) == 1
    closest = np.linalg.norm(fitted[:, None] - reference.cluster_centers_, axis=-1).min(1)
    assert closest.max() < 1e-3


@pytest.mark.parametrize("memory", [150, 300, 1199])
@pytest.mark.parametrize("batch", [1, 64, 5000])
def test_streaming_takes_in_every_token(memory, batch, monkeypatch):
    """On separate blobs streaming ends at the mean of all tokens, wherever the batches end."""
    store, truth = make_blobs(2)
    monkeypatch.setattr(module, "BATCH_VECTORS", batch)
    config = ClusteringConfig(memory_vectors=memory)
    fitted = fit_centroids(store, "top", list(store.grids), 2, config, seed=1)
    assert sorted(store.reads) == sorted(store.grids)
    tokens = tokens_of(store)
    means = np.stack([tokens[truth.ravel() == c].mean(0) for c in range(2)])
    closest = np.linalg.norm(fitted[:, None] - means, axis=-1).min(1)
    assert closest.max() < 1e-4


def test_each_batch_goes_to_the_centres_as_they_are_by_then(monkeypatch):
    grids = np.random.default_rng(0).standard_normal((30, 6, 5, 4))
    store = Grids({f"d/{i}": grid for i, grid in enumerate(grids)})
    batches = []

    def record(centroids, counts, vectors, label):
        batches.append((label, nearest(vectors, centroids)))
        return update_means(centroids, counts, vectors, label)

    monkeypatch.setattr(module, "update_means", record)
    monkeypatch.setattr(module, "BATCH_VECTORS", 25)
    config = ClusteringConfig(memory_vectors=40)
    fit_centroids(store, "top", list(store.grids), 6, config, 0)
    assert len(batches) == 35  # (900 - 40) / 25, the last one smaller
    for label, expected in batches:
        np.testing.assert_array_equal(label, expected)


def test_same_seed_same_centres_other_seed_other_subset():
    store, _ = make_blobs(4)
    config = ClusteringConfig(subset_images=10, memory_vectors=100)
    ids = list(store.grids)
    first, read_first = fit_centroids(store, "top", ids, 4, config, 0), list(store.reads)
    store.reads.clear()
    again = fit_centroids(store, "top", ids, 4, config, 0)
    assert store.reads == read_first
    assert len(set(read_first)) == 10
    assert read_first != sorted(read_first, key=ids.index)
    np.testing.assert_array_equal(first, again)
    store.reads.clear()
    shuffled = fit_centroids(store, "top", ids[::-1], 4, config, 0)  # as other shards list them
    np.testing.assert_array_equal(first, shuffled)
    store.reads.clear()
    fit_centroids(store, "top", ids, 4, config, 1)
    assert set(store.reads) != set(read_first)


def test_more_clusters_than_distinct_tokens_stays_finite(monkeypatch):
    monkeypatch.setattr(module, "BATCH_VECTORS", 7)
    grids = {f"d/{i}": np.eye(4)[np.full((3, 3), i % 2)] for i in range(6)}
    config = ClusteringConfig(memory_vectors=20)
    fitted = fit_centroids(Grids(grids), "top", list(grids), 5, config, 0)
    assert np.isfinite(fitted).all()


def test_too_few_tokens():
    grids = {"d/0": np.ones((2, 2, 3))}
    with pytest.raises(DataError, match=r"too few tokens for 5 clusters(.|\n)*found: +4"):
        fit_centroids(Grids(grids), "top", ["d/0"], 5, ClusteringConfig(), 0)


@pytest.mark.parametrize("memory", [4, 8])
def test_features_that_are_not_finite(memory):
    grids = {f"d/{i}": np.ones((2, 2, 3)) for i in range(2)}
    grids["d/1"][1, 1, 0] = np.inf
    config = ClusteringConfig(memory_vectors=memory)
    with pytest.raises(DataError, match=r"image d/1 are not finite(.|\n)*1 bad tokens of 4"):
        fit_centroids(Grids(grids), "top", list(grids), 2, config, 0)


def test_centroids_survive_the_disk(tmp_path):
    centroids = np.random.default_rng(0).random((3, 4), dtype=np.float32)
    save_centroids(tmp_path / "a" / "one.h5", centroids)
    save_centroids(tmp_path / "two.h5", centroids)
    assert (tmp_path / "a/one.h5").read_bytes() == (tmp_path / "two.h5").read_bytes()
    np.testing.assert_array_equal(load_centroids(tmp_path / "a" / "one.json"), centroids)
