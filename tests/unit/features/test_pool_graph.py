"""The pool's graph against numpy, written to a file and back."""

import h5py
import numpy as np
import pytest
from umtfss.clustering.pool_graph import (
    PoolGraph,
    build_pool_graph,
    image_segments,
    load_pool_graph,
    save_pool_graph,
)

from umtfss.config import PropagationConfig
from umtfss.errors import DataError, StoreError


def unit(values):
    return (values / np.linalg.norm(values, axis=-1, keepdims=True)).astype(np.float32)


class Store:
    """Random features of images of several sizes, as the builder reads them."""

    def __init__(self, images=9, channels=6, seed=0):
        random = np.random.default_rng(seed)
        self.ids = [f"set/{i}" for i in range(images)]
        self.grids = {
            i: random.standard_normal((3 + k % 3, 4, channels)).astype(np.float16)
            for k, i in enumerate(self.ids)
        }

    def read(self, image_id, level):
        assert level == "high"
        return self.grids[image_id]


def test_segments_are_the_means_of_well_separated_groups():
    random = np.random.default_rng(0)
    centres = np.eye(5, 8, dtype=np.float32)
    group = random.permutation(np.repeat(np.arange(5), 12))
    tokens = unit(centres[group] + random.normal(0, 0.02, (60, 8)))
    found = image_segments(tokens, 5, seed=1)
    expected = unit(np.stack([tokens[group == g].sum(0) for g in range(5)]))
    order = np.argsort(found.argmax(1))
    np.testing.assert_allclose(found[order], expected, atol=1e-5)


@pytest.mark.parametrize("tokens", [1, 3, 14])
def test_an_image_of_few_tokens_has_one_segment_for_each(tokens):
    values = unit(np.random.default_rng(2).standard_normal((tokens, 6)))
    found = image_segments(values, 14, seed=0)
    assert len(found) <= tokens
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, rtol=1e-5)
    np.testing.assert_array_equal(found, image_segments(values, 14, seed=0))


def test_links_are_those_of_a_search_one_by_one():
    settings, store = PropagationConfig(segments=4, neighbours=3, temperature=0.2), Store()
    graph = build_pool_graph(store, "high", store.ids, settings)
    segments, count = graph.segments, 4 * len(store.ids)  # image after image
    assert segments.shape == (count, 6)
    image = np.arange(count) // 4
    weights = np.zeros((count, count))
    for row in range(count):
        cosine = segments @ segments[row]
        others = sorted(np.flatnonzero(image != image[row]), key=lambda j: -cosine[j])
        for column in others[:3]:
            weights[row, column] = np.exp((cosine[column] - 1) / 0.2)
    weights = np.maximum(weights, weights.T)
    degree = weights.sum(1)
    expected = weights / np.sqrt(degree[:, None] * degree)
    np.testing.assert_allclose(graph.links.toarray(), expected, atol=1e-5)
    assert graph.links.dtype == np.float32


def test_a_pool_that_is_too_small_is_refused():
    store = Store(images=3)
    with pytest.raises(DataError, match="a pool of 3 images is too small"):
        build_pool_graph(store, "high", store.ids, PropagationConfig(segments=4, neighbours=20))


def test_a_graph_is_written_and_read_back(tmp_path):
    store = Store()
    settings = PropagationConfig(segments=4, neighbours=3)
    graph = build_pool_graph(store, "high", store.ids, settings)
    save_pool_graph(tmp_path / "graph.h5", graph)
    read = load_pool_graph(tmp_path / "graph.h5")
    assert isinstance(read, PoolGraph)
    np.testing.assert_allclose(read.segments, graph.segments, atol=1e-3)
    np.testing.assert_array_equal(read.links.toarray(), graph.links.toarray())
    assert [path.name for path in tmp_path.iterdir()] == ["graph.h5"]


def test_other_files_are_refused(tmp_path):
    with pytest.raises(StoreError, match=r"graph\.h5 does not exist"):
        load_pool_graph(tmp_path / "graph.h5")
    (tmp_path / "text.h5").write_text("no HDF5")
    with pytest.raises(StoreError, match="is not an HDF5 file"):
        load_pool_graph(tmp_path / "text.h5")
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file.attrs.update(format="umtfss-centroids", version=1)
    with pytest.raises(StoreError, match="holds no pool graph of this version"):
        load_pool_graph(tmp_path / "other.h5")
