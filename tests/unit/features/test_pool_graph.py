"""The pool's graph against numpy."""

import numpy as np
import pytest

from umtfss.common.errors import DataError
from umtfss.experiment.features import DiffusionConfig
from umtfss.features import pool_graph
from umtfss.features.pool_graph import build_pool_graph, image_segments


def unit(values):
    return (values / np.linalg.norm(values, axis=-1, keepdims=True)).astype(np.float32)


def diffusion(**settings):
    return DiffusionConfig(**settings)


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
    store = Store()
    graph = build_pool_graph(
        store, store.ids, "high", diffusion(segments=4, neighbours=3, temperature=0.2)
    )
    segments, count = graph.segments, 4 * len(store.ids)  # image after image
    assert segments.shape == (count, 6)
    image = np.arange(count) // 4
    np.testing.assert_array_equal(graph.image, image)
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
        build_pool_graph(store, store.ids, "high", diffusion(segments=4, neighbours=20))


def test_a_large_pool_is_searched_in_cells(monkeypatch):
    random = np.random.default_rng(3)
    centres = random.standard_normal((20, 16))
    vectors = unit(centres[random.integers(20, size=2000)] + random.normal(0, 0.3, (2000, 16)))
    exact = pool_graph._index(vectors).search(vectors, 10)[1]
    monkeypatch.setattr(pool_graph, "EXACT", 1999)
    index = pool_graph._index(vectors)
    found = index.search(vectors, 10)[1]
    assert index.nlist == 178  # 4 n^1/2
    recall = np.mean([len({*one} & {*other}) / 10 for one, other in zip(exact, found, strict=True)])
    assert recall > 0.9
    np.testing.assert_array_equal(found, pool_graph._index(vectors).search(vectors, 10)[1])
