"""The graph of an unlabelled pool: segments, linked to similar segments of other images.

It is the graph of label propagation (Zhou et al., "Learning with Local and Global Consistency",
NeurIPS 2003). Shapes: n segments of all images, C channels, V tokens of an image.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse
from tqdm import tqdm

from umtfss.common.errors import DataError
from umtfss.common.randomness import seed64
from umtfss.experiment.features import DiffusionConfig
from umtfss.features.store import FeatureStore, unit_tokens

if TYPE_CHECKING:
    import faiss

ITERATIONS = 10  # of k-means within an image
EXACT = 50_000  # up to this number of segments, every pair is compared
PROBED = 32  # cells that a search reads in a larger pool
POINTS_PER_CELL = 64  # segments per cell that the cells' centres are fitted to


@dataclass(frozen=True)
class PoolGraph:
    """Segments and their links.

    Attributes:
        segments: (n, C) float32, L2-normalised mean tokens.
        image: (n,) int64, number of each segment's image in the pool.
        links: (n, n) float32, symmetric, D^-1/2 W D^-1/2 for the weights W with row sums D.
    """

    segments: np.ndarray
    image: np.ndarray
    links: sparse.csr_matrix


def image_segments(tokens: np.ndarray, count: int, seed: int) -> np.ndarray:
    """The mean tokens of an image's segments, (at most `count`, C) float32, L2-normalised.

    Segments are spherical k-means clusters of the image's own tokens.

    Args:
        tokens: (V, C) float32, unit vectors.
        count: Number of segments; an image of fewer tokens has one segment per token.
        seed: Seed of the first centres.
    """
    import faiss  # only diffused features need it

    count = min(count, len(tokens))
    kmeans = faiss.Kmeans(
        tokens.shape[1],
        count,
        niter=ITERATIONS,
        seed=seed,
        spherical=True,
        min_points_per_centroid=1,
        max_points_per_centroid=len(tokens),
    )
    kmeans.train(tokens)
    member = kmeans.index.search(tokens, 1)[1][:, 0]
    sums = np.zeros((count, tokens.shape[1]), np.float32)
    np.add.at(sums, member, tokens)
    norms = np.linalg.norm(sums, axis=1, keepdims=True)
    kept = norms[:, 0] > 0
    return sums[kept] / norms[kept]


def build_pool_graph(
    store: FeatureStore, ids: Sequence[str], level: str, settings: DiffusionConfig
) -> PoolGraph:
    """Build the graph of the images `ids`.

    Every segment is linked to the `neighbours` most similar segments of other images; links are
    symmetric. Segments of one image are not linked: they look alike because they share a photo.

    Args:
        store: The frozen features.
        ids: Qualified ids of the pool's images.
        level: The level compared.
        settings: Numbers of segments and links, and the temperature of weights.

    Raises:
        DataError: The pool has too few images to link.
    """
    parts = [
        image_segments(
            unit_tokens(store, image_id, level),
            settings.segments,
            seed64("segments", image_id) % 2**31,
        )
        for image_id in tqdm(ids, "segments", unit="image")
    ]
    image = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
    segments = np.concatenate(parts)
    if len(segments) - max(len(part) for part in parts) < settings.neighbours:
        raise DataError(
            f"a pool of {len(ids)} images is too small for diffusion",
            expected=f"{settings.neighbours} segments in other images, for every image",
            found=f"{len(segments)} segments in all",
            fix="use more images, or fewer `neighbours` of the diffused features",
        )
    return PoolGraph(segments, image, _links(segments, image, settings))


def _index(segments: np.ndarray) -> "faiss.Index":
    """The index for nearest segments: exact in a small pool, else an inverted file.

    With 4 n^1/2 cells the search for all segments costs n^3/2 instead of n^2.
    """
    import faiss

    count, channels = segments.shape
    index: faiss.Index = faiss.IndexFlatIP(channels)
    if count > EXACT:
        inverted = faiss.IndexIVFFlat(
            index, channels, int(4 * count**0.5), faiss.METRIC_INNER_PRODUCT
        )
        inverted.cp.seed, inverted.cp.spherical = 0, True
        inverted.cp.max_points_per_centroid = POINTS_PER_CELL
        inverted.train(segments)
        inverted.nprobe = PROBED
        index = inverted
    index.add(segments)
    return index


def _links(segments: np.ndarray, image: np.ndarray, settings: DiffusionConfig) -> sparse.csr_matrix:
    """The normalised weights, (n, n), of links to each segment's nearest in other images."""
    index = _index(segments)
    # All segments of the same image may come first.
    cosine, other = index.search(segments, settings.neighbours + int(np.bincount(image).max()))
    elsewhere = (other >= 0) & (image[other] != image[:, None])  # -1: fewer found
    chosen = elsewhere & (np.cumsum(elsewhere, axis=1) <= settings.neighbours)
    row, column = np.nonzero(chosen)[0], other[chosen]
    weight = np.exp((cosine[chosen] - 1) / settings.temperature).astype(np.float32)
    one_way = sparse.csr_matrix((weight, (row, column)), shape=(len(segments), len(segments)))
    weights = one_way.maximum(one_way.T)
    scale = sparse.diags(np.asarray(weights.sum(1)).ravel() ** -0.5)
    return (scale @ weights @ scale).tocsr().astype(np.float32)
