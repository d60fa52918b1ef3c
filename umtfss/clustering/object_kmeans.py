"""K-means of objects: each is one vector, so all of them fit into memory.

Shapes: N clusters, C channels, R objects.
"""

import logging

import faiss
import numpy as np

from umtfss.common.errors import DataError
from umtfss.common.randomness import seed64
from umtfss.experiment.clustering import ClusteringConfig

logger = logging.getLogger(__name__)


def fit_object_centroids(
    features: np.ndarray, clusters: int, settings: ClusteringConfig
) -> np.ndarray:
    """The cluster centres of objects, (N, C) float32.

    Args:
        features: (R, C) float32, mean token of every object.
        clusters: N.
        settings: Iterations and seed.

    Raises:
        DataError: There are fewer objects than clusters.
    """
    if len(features) < clusters:
        raise DataError(
            f"the images hold too few objects for {clusters} clusters",
            expected=f"at least {clusters} objects",
            found=len(features),
            fix="give more images, or fewer clusters",
        )
    kmeans = faiss.Kmeans(
        features.shape[1],
        clusters,
        niter=settings.iterations,
        seed=seed64("object-clustering", settings.seed, "centres") % 2**31,
        min_points_per_centroid=1,
        max_points_per_centroid=len(features),  # no silent subsampling
    )
    kmeans.train(features)
    sizes = np.bincount(kmeans.index.search(features, 1)[1][:, 0], minlength=clusters)
    logger.info("%d objects, %d to %d in a cluster", len(features), sizes.min(), sizes.max())
    return np.asarray(kmeans.centroids)
