"""K-means of pixel embeddings: Lloyd's iterations in memory, then running means over a stream.

Shapes: N clusters, C channels, h w grid, V vectors. A vector is one token of one image,
L2-normalised. The store holds un-padded grids, so no vector is padding.
"""

import logging
from collections.abc import Sequence

import numpy as np
import torch
from scipy import sparse

from umtfss.clustering.token_stream import TokenStream
from umtfss.common.errors import DataError
from umtfss.common.onednn import linear
from umtfss.common.randomness import generator, seed64
from umtfss.experiment.clustering import ClusteringConfig
from umtfss.features.store import FeatureStore

ASSIGN_BLOCK = 4096  # vectors
BATCH_VECTORS = 65_536  # vectors of a streaming update


logger = logging.getLogger(__name__)


@torch.no_grad()
def nearest_centroids(vectors: np.ndarray, centroids: np.ndarray) -> np.ndarray:
    """The centre nearest in L2 to every vector, (V,) int64.

    The nearest centre c of a unit vector x has the greatest score 2 x.c - |c|^2. Vectors are
    compared block by block, so that the scores fit the processor's cache.

    Args:
        vectors: (V, C) float32.
        centroids: (N, C) float32.
    """
    device = "cuda" if torch.cuda.is_available() else "cpu"
    centres = torch.from_numpy(centroids).to(device)
    weight, bias = 2 * centres, -centres.square().sum(1)
    blocks = torch.from_numpy(vectors).split(ASSIGN_BLOCK)
    nearest = [linear(block.to(device), weight, bias).argmax(1).cpu() for block in blocks]
    return torch.cat(nearest).numpy()


def update_means(
    centroids: np.ndarray, counts: np.ndarray, vectors: np.ndarray, nearest: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The centroids and counts after every centroid's running mean has included its new vectors.

    A centroid without vectors stays where it is.

    Args:
        centroids: (N, C) float32.
        counts: (N,) int64, number of vectors that each centroid is the mean of.
        vectors: (V, C) float32, new vectors.
        nearest: (V,) int64, cluster of each new vector.

    Returns:
        (N, C) float32 centroids; (N,) int64 counts.
    """
    rows = np.arange(len(vectors))
    ones = np.ones(len(vectors), dtype=np.float32)
    members = sparse.csr_matrix((ones, (nearest, rows)), shape=(len(centroids), len(vectors)))
    new = np.bincount(nearest, minlength=len(centroids))
    total = counts + new
    drift = members @ vectors - new[:, None] * centroids
    return (centroids + drift / np.maximum(total, 1)[:, None]).astype(np.float32), total


def fit_centroids(
    store: FeatureStore,
    level: str,
    ids: Sequence[str],
    clusters: int,
    settings: ClusteringConfig,
    seed: int,
) -> np.ndarray:
    """The cluster centres of the images' tokens, (N, C) float32.

    A seeded random subset of the images is read in random order. The first `memory_vectors` tokens
    are clustered by Lloyd's iterations. The remaining tokens are streamed in batches, which update
    the running means; the means start with the cluster sizes of Lloyd's result. Memory depends on
    `settings` and not on the number of images.

    The result depends on the arguments, the number of threads and the faiss build alone. Another
    number of threads sums in another order: the last bits of the centres change, and a token
    halfway between two centres may change sides.

    Args:
        store: Features to cluster.
        level: Level of the features.
        ids: Qualified image ids of the pool; their order does not matter.
        clusters: N.
        settings: Sizes and iterations.
        seed: Seed of the subset, its order and the first centres.

    Raises:
        DataError: The images hold fewer tokens than clusters, or a feature is not finite.
    """
    import faiss  # assignment and running means do without

    ids = sorted(ids)
    chosen = generator("clustering", seed, "subset").permutation(len(ids))
    subset = [ids[i] for i in chosen[: settings.subset_images]]
    available = sum(h * w for h, w in map(store.grid, subset))
    if available < clusters:
        raise DataError(
            f"{len(subset)} images hold too few tokens for {clusters} clusters",
            expected=f"at least {clusters} tokens",
            found=available,
            fix="give more images, a larger long_side of the features or fewer clusters",
        )
    channels = store.geometry.channels[level]
    stream = TokenStream(store, level, subset)
    memory = np.empty((min(settings.memory_vectors, available), channels), dtype=np.float32)
    vectors = stream.fill(memory)
    logger.info("Lloyd on %d of %d tokens, %d clusters", len(vectors), available, clusters)
    kmeans = faiss.Kmeans(
        channels,
        clusters,
        niter=settings.iterations,
        seed=seed64("clustering", seed, "centres") % 2**31,
        min_points_per_centroid=1,
        max_points_per_centroid=len(vectors),  # no silent subsampling
        gpu=faiss.get_num_gpus(),
    )
    kmeans.train(vectors)
    centroids = np.asarray(kmeans.centroids)
    counts = np.bincount(nearest_centroids(vectors, centroids), minlength=clusters)

    del vectors, memory
    batch = np.empty((min(BATCH_VECTORS, available), channels), dtype=np.float32)
    while len(vectors := stream.fill(batch)):
        nearest = nearest_centroids(vectors, centroids)
        centroids, counts = update_means(centroids, counts, vectors, nearest)
    logger.info("smallest cluster %d tokens, largest %d", counts.min(), counts.max())
    return centroids
