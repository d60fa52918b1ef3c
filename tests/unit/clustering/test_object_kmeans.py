"""K-means of objects against scikit-learn."""

import numpy as np
import pytest
from sklearn.cluster import KMeans

from umtfss.clustering.object_kmeans import fit_object_centroids
from umtfss.common.errors import DataError
from umtfss.experiment.clustering import ClusteringConfig


def objects(count=90, kinds=3, channels=6):
    rng = np.random.default_rng(0)
    means = 5 * rng.standard_normal((kinds, channels))
    points = means[np.arange(count) % kinds] + rng.standard_normal((count, channels))
    return (points / np.linalg.norm(points, axis=1, keepdims=True)).astype(np.float32)


def test_centres_are_those_of_scikit_learn():
    features = objects()
    centroids = fit_object_centroids(features, 3, ClusteringConfig())
    expected = KMeans(3, n_init=10, random_state=0).fit(features).cluster_centers_
    order, other = np.lexsort(centroids.T), np.lexsort(expected.T)
    np.testing.assert_allclose(centroids[order], expected[other], atol=1e-5)


def test_the_seed_decides_the_first_centres():
    features = objects(kinds=30)
    one, same, other = (
        fit_object_centroids(features, 8, ClusteringConfig(seed=seed, iterations=1))
        for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(one, same)
    assert not np.array_equal(one, other)


def test_fewer_objects_than_clusters():
    with pytest.raises(DataError, match=r"too few objects for 4 clusters(.|\n)*found: +3"):
        fit_object_centroids(objects(3), 4, ClusteringConfig())
