"""K-means of pixel embeddings: Lloyd on what fits memory, running means over the rest.

Protocol section 3.3. Shapes: N clusters, C channels, h w grid, V vectors. A vector is one token
of one image, L2-normalised; padding never enters, because the store holds un-padded grids.
"""

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

import faiss
import h5py
import numpy as np
import torch
from scipy import sparse
from tqdm import tqdm

from umtfss.config import ClusteringConfig
from umtfss.errors import DataError
from umtfss.features.store import FeatureStore, unit_tokens
from umtfss.hdf5 import FileKind
from umtfss.linear import linear
from umtfss.provenance import atomic_path, digest_file
from umtfss.randomness import generator, seed64

KIND = FileKind("umtfss-centroids", 1, "a file of cluster centres", "all_clustering")
ASSIGN_BLOCK = 4096  # vectors
LOG = logging.getLogger(__name__)


class TokenStream:
    """The unit tokens of some images, one image in memory at a time.

    Args:
        store: The feature store.
        level: The level read.
        ids: Qualified image ids, in the order in which they are read.
    """

    def __init__(self, store: FeatureStore, level: str, ids: Sequence[str]) -> None:
        self._images: Iterator[np.ndarray] = (
            unit_tokens(store, i, level) for i in tqdm(ids, "k-means", unit="image")
        )
        self._rest = np.empty((0, store.channels[level]), dtype=np.float32)

    def fill(self, buffer: np.ndarray) -> np.ndarray:
        """The filled part of `buffer`: all of it until the stream ends.

        What an image has beyond the buffer's end comes first in the next call.
        """
        held = 0
        while held < len(buffer):
            if not len(self._rest):
                self._rest = next(self._images, self._rest)
                if not len(self._rest):
                    break
            taken = min(len(buffer) - held, len(self._rest))
            buffer[held : held + taken] = self._rest[:taken]
            self._rest = self._rest[taken:]
            held += taken
        return buffer[:held]


@torch.no_grad()
def nearest_centroids(vectors: np.ndarray, centroids: np.ndarray) -> np.ndarray:
    """The centre nearest in L2 to every vector, (V,) int64.

    2 x.c - |c|^2 is greatest for it. Blocks of vectors keep the scores in the processor's cache.

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
    """The centroids and counts after each centroid's running mean has taken in its vectors.

    A cluster that has seen no vector stays where it is.

    Args:
        centroids: (N, C) float32.
        counts: (N,) int64, vectors that each centroid is the mean of.
        vectors: (V, C) float32.
        nearest: (V,) int64, cluster of each vector.
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

    A seeded random subset of the images is read in random order. The tokens that fit
    `memory_vectors` get Lloyd's iterations; the remaining ones are streamed in batches that move
    the running means, which start from Lloyd's cluster sizes. Memory depends on `settings` and
    not on the number of images.

    The result depends on the arguments alone for a given number of threads and faiss build.
    Another number of threads adds in another order: the last bits of the centres change, and a
    token halfway between two centres may change sides.

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
    ids = sorted(ids)
    chosen = generator("clustering", seed, "subset").permutation(len(ids))
    subset = [ids[i] for i in chosen[: settings.subset_images]]
    available = sum(h * w for h, w in map(store.grid, subset))
    if available < clusters:
        raise DataError(
            f"{len(subset)} images hold too few tokens for {clusters} clusters",
            expected=f"at least {clusters} tokens",
            found=available,
            fix="give more images, a larger features.clustering.long_side or fewer clusters",
        )
    channels = store.channels[level]
    stream = TokenStream(store, level, subset)
    memory = np.empty((min(settings.memory_vectors, available), channels), dtype=np.float32)
    vectors = stream.fill(memory)
    LOG.info("Lloyd on %d of %d tokens, %d clusters", len(vectors), available, clusters)
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
    batch = np.empty((min(settings.batch_vectors, available), channels), dtype=np.float32)
    while len(vectors := stream.fill(batch)):
        nearest = nearest_centroids(vectors, centroids)
        centroids, counts = update_means(centroids, counts, vectors, nearest)
    LOG.info("smallest cluster %d tokens, largest %d", counts.min(), counts.max())
    return centroids


def save_centroids(path: str | Path, centroids: np.ndarray) -> str:
    """The digest of the file written: equal centres give equal bytes.

    Args:
        path: An HDF5 file, written atomically.
        centroids: (N, C) float32.
    """
    with atomic_path(path) as temporary, h5py.File(temporary, "w") as file:
        KIND.mark(file)
        file["centroids"] = centroids.astype(np.float32, copy=False)
    return digest_file(path)


def load_centroids(path: str | Path) -> np.ndarray:
    """The centres in a file, (N, C) float32.

    Raises:
        StoreError: The file is missing, of another format or of another version.
    """
    with KIND.open(path) as file:
        return file["centroids"][()]
