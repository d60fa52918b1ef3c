"""Diffused features: the position of a token among the segments of an unlabelled pool.

Two images of one class often look different, but images of the pool lie between them. On the pool's
graph the two images are close if many short paths join them. A spectral embedding of the graph
turns this closeness into a cosine (Coifman and Lafon, "Diffusion maps", 2006), for the kernel
(1 - alpha A)^-1 of Zhou et al. ("Learning with Local and Global Consistency", NeurIPS 2003). A
token outside the graph gets the mean position of its most similar segments, as in Nystrom's method.
Diffused features can replace frozen features everywhere. The paper has no diffusion.

Objects that the pool does not show have no position among its segments. So a part of the cosine can
come from the features before diffusion, projected to their principal directions over the pool.

Shapes: n segments of the pool, C channels of the source, k channels of a position, d principal
directions, c cells of the index, h w grid, N = h * w tokens.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import h5py
import numpy as np
from scipy.sparse.linalg import eigsh

from umtfss.common.digests import digest_code, digest_json
from umtfss.common.errors import DataError, StoreError
from umtfss.common.hdf5 import FileKind
from umtfss.common.manifests import read_manifest
from umtfss.common.randomness import generator
from umtfss.experiment.features import DIFFUSED, DiffusionConfig
from umtfss.features.pool_graph import PoolGraph, build_pool_graph
from umtfss.features.shard import write_shard
from umtfss.features.store import FeatureSource, FeatureStore, ImageFeatures, unit_tokens

KIND = FileKind("umtfss-diffusion", 3, "a diffusion map")
TOLERANCE = 1e-2  # relative, of the eigenvalues; as measured in docs/history/accuracy_log.md
SEGMENTS_PER_CELL = 100
LARGE = 40_000  # segments; from here on 2 n^1/2 cells are fewer than n / 100
POINTS_PER_CELL = 64  # segments per cell that the cells of a large pool are fitted to
PROBED = 16  # cells of the index that a search reads: 0.93 of the true neighbours are found


@dataclass(frozen=True)
class DiffusionMap:
    """The pool's segments and their positions after diffusion.

    Attributes:
        ids: Qualified ids of the pool's images.
        level: The level that is diffused.
        settings: Settings of the map and of the placement of tokens.
        segments: (n, C) float32, unit vectors, exact in half precision.
        image: (n,) int64, row in `ids` of each segment's image.
        coordinates: (n, k) float32, eigenvectors times (1 - alpha eigenvalue)^-1/2.
        axes: (C, d) float32, principal directions of the segments; d is 0 if `keep` is 0.
        cells: (c, C) float32, centres of the index that finds a token's most similar segments.
    """

    ids: tuple[str, ...]
    level: str
    settings: DiffusionConfig
    segments: np.ndarray
    image: np.ndarray
    coordinates: np.ndarray
    axes: np.ndarray
    cells: np.ndarray

    def save(self, path: str | Path) -> None:
        """Write the map to an HDF5 file, and its manifest; equal maps give equal bytes."""
        with KIND.create(path) as file:
            file.attrs.update(level=self.level, settings=self.settings.model_dump_json())
            file.create_dataset("ids", data=list(self.ids), dtype=h5py.string_dtype())
            file["segments"] = self.segments.astype(np.float16)
            for name in ("image", "coordinates", "axes", "cells"):
                file[name] = getattr(self, name)

    @classmethod
    def load(cls, path: str | Path) -> "DiffusionMap":
        """The map that a manifest describes.

        Raises:
            StoreError: The file or its manifest is missing, damaged, or of another kind or place.
        """
        with KIND.open(KIND.checked(path)) as file, KIND.reading(path):
            return cls(
                tuple(file["ids"].asstr()[()]),
                file.attrs["level"],
                DiffusionConfig.model_validate_json(file.attrs["settings"]),
                file["segments"][()].astype(np.float32),
                *(file[name][()] for name in ("image", "coordinates", "axes", "cells")),
            )


def build_diffusion_map(
    store: FeatureStore, ids: Sequence[str], level: str, settings: DiffusionConfig
) -> DiffusionMap:
    """Build the diffusion map of the images `ids`.

    Args:
        store: Features of the images before diffusion.
        ids: Qualified ids of the pool's images; their order does not matter.
        level: The level that is diffused.
        settings: Number of segments, links and channels.

    Raises:
        DataError: The pool has too few images.
    """
    ids = sorted(ids)
    graph = build_pool_graph(store, ids, level, settings)
    segments = graph.segments.astype(np.float16).astype(np.float32)
    coordinates = spectral_coordinates(graph, settings)
    axes = principal_directions(segments, settings.keep_channels if settings.keep else 0)
    cells = _cells(segments)
    return DiffusionMap(
        tuple(ids), level, settings, segments, graph.image, coordinates, axes, cells
    )


def spectral_coordinates(graph: PoolGraph, settings: DiffusionConfig) -> np.ndarray:
    """The k leading eigenvectors of the links, scaled, (n, k) float32.

    Inner products of the rows approximate the kernel (1 - alpha A)^-1 by k of its n eigenvectors.

    Raises:
        DataError: The graph has `channels` segments or fewer.
    """
    count = len(graph.segments)
    if count <= settings.channels:
        raise DataError(
            "the pool is too small for its diffused features",
            expected=f"more segments than channels of the diffused features, {settings.channels}",
            found=f"{count} segments",
            fix="use more images, or fewer channels",
        )
    start = generator("eigenvectors").standard_normal(count).astype(np.float32)
    values, vectors = eigsh(graph.links, settings.channels, which="LA", tol=TOLERANCE, v0=start)
    return (vectors * (1 - settings.alpha * values) ** -0.5).astype(np.float32)


def principal_directions(segments: np.ndarray, count: int) -> np.ndarray:
    """The principal directions of the segments, orthonormal, (C, count) float32.

    The mean is not subtracted, because cosines are taken between vectors from the origin.

    Args:
        segments: (n, C) float32.
        count: d.

    Raises:
        DataError: Tokens have fewer than `count` channels.
    """
    if count > segments.shape[1]:
        raise DataError(
            "there are not as many principal directions as asked for",
            expected=f"keep_channels of the diffused features of {segments.shape[1]} at most",
            found=count,
        )
    _, vectors = np.linalg.eigh(segments.T @ segments)  # ascending
    return vectors[:, ::-1][:, :count].astype(np.float32)


def _cells(segments: np.ndarray) -> np.ndarray:
    """The centres of the index's cells, (c, C); stored in the map, so all readers use the same.

    k-means of n segments takes n c: n^2 with n / 100 cells. The 2 n^1/2 cells of a large pool are
    fitted to a sample of 64 segments a cell, which takes a time linear in n.
    """
    count, points = max(len(segments) // SEGMENTS_PER_CELL, 1), 2 * SEGMENTS_PER_CELL  # all
    if len(segments) > LARGE:
        count, points = int(2 * len(segments) ** 0.5), POINTS_PER_CELL
    import faiss  # only diffused features need it

    kmeans = faiss.Kmeans(
        segments.shape[1],
        count,
        niter=10,
        seed=0,
        spherical=True,
        max_points_per_centroid=points,
    )
    kmeans.train(segments)
    assert kmeans.centroids is not None
    return kmeans.centroids


class DiffusedFeatures:
    """Diffused features, computed when they are read.

    Args:
        source: Features before diffusion, cached or live.
        diffusion: The map.

    Raises:
        StoreError: The source lacks the level, or has other channels than the map.
    """

    def __init__(self, source: FeatureSource, diffusion: DiffusionMap) -> None:
        level, channels = diffusion.level, diffusion.segments.shape[1]
        if source.geometry.channels.get(level) != channels:
            raise StoreError(
                "the features do not fit the diffusion map",
                expected=f"{level} of {channels} channels",
                found=source.geometry.channels,
                fix="make the map again: snakemake --cores all all_features",
            )
        self.source, self.diffusion = source, diffusion
        self.geometry = replace(source.geometry, channels={DIFFUSED: diffusion.settings.width})
        self._rows = {image_id: row for row, image_id in enumerate(diffusion.ids)}
        self._own = np.bincount(diffusion.image, minlength=len(diffusion.ids))
        import faiss

        cells = faiss.IndexFlatIP(channels)
        cells.add(diffusion.cells)
        self._index = faiss.IndexIVFFlat(
            cells, channels, len(diffusion.cells), faiss.METRIC_INNER_PRODUCT
        )
        self._index.add(diffusion.segments)
        self._index.nprobe = PROBED

    def grid(self, image_id: str) -> tuple[int, int]:
        """The image's un-padded grid (h, w)."""
        return self.source.grid(image_id)

    def image_size(self, image_id: str) -> tuple[int, int]:
        """The image's original (H, W), px."""
        return self.source.image_size(image_id)

    def read(self, image_id: str, level: str) -> np.ndarray:
        """The diffused features of an image, (h, w, k + d) float16; `level` is "diffused"."""
        keep = self.diffusion.settings.keep
        tokens = unit_tokens(self.source, image_id, self.diffusion.level)
        found = self.place(tokens, self._rows.get(image_id))
        if keep:
            own = _unit(tokens @ self.diffusion.axes)
            found = np.hstack([(1 - keep) ** 0.5 * found, keep**0.5 * own])
        return found.reshape(*self.grid(image_id), -1).astype(np.float16)

    def place(self, tokens: np.ndarray, row: int | None = None) -> np.ndarray:
        """The positions of tokens, (N, k) float32, unit vectors.

        A position is the mean of the coordinates of the token's nearest segments, weighted by
        similarity. Segments of the token's own image are left out: an image outside the pool has
        no segments of its own, either.

        Args:
            tokens: (N, C) float32, unit vectors.
            row: Row of the tokens' image in the pool; None: the image is not in the pool.
        """
        settings, image = self.diffusion.settings, self.diffusion.image
        own = 0 if row is None else int(self._own[row])
        cosine, index = self._index.search(tokens, settings.neighbours + own)
        usable = index >= 0  # -1 where the search found fewer segments
        if row is not None:
            usable &= image[index] != row
        usable &= np.cumsum(usable, axis=1) <= settings.neighbours
        weight = np.exp((np.where(usable, cosine, -np.inf) - 1) / settings.temperature)
        return _unit(np.matmul(weight[:, None], self.diffusion.coordinates[index])[:, 0])

    def images(self, ids: Sequence[str]) -> Iterator[ImageFeatures]:
        """The diffused features of some images, in order."""
        for image_id in ids:
            levels = {DIFFUSED: self.read(image_id, DIFFUSED)}
            yield ImageFeatures(image_id, self.image_size(image_id), levels)


def _unit(vectors: np.ndarray) -> np.ndarray:
    """The vectors scaled to length 1, (N, channels) float32; zero vectors stay."""
    norm = np.linalg.norm(vectors, axis=1, keepdims=True)
    return (vectors / np.maximum(norm, np.finfo(np.float32).tiny)).astype(np.float32)


def diffuse_shard(manifest: str | Path, diffusion_map: str | Path, folder: Path) -> Path:
    """Write the diffused features of a shard, and return the path of the new manifest.

    A stopped job resumes where it stopped (see `write_shard`).

    Args:
        manifest: Manifest of the shard before diffusion.
        diffusion_map: Manifest of the map.
        folder: The new shard's folder.

    Raises:
        StoreError: The features or the map are missing, altered or do not fit each other.
        DiskSpaceError: The features would not fit the disk.
    """
    store = FeatureStore([manifest])
    features = DiffusedFeatures(store, DiffusionMap.load(diffusion_map))
    mapped = KIND.manifest(diffusion_map)["digest"]
    assert store.spec is not None
    spec = replace(
        store.spec,
        channels=dict(features.geometry.channels),
        weights=digest_json([store.spec.weights, mapped]),
    )
    made_of = [
        read_manifest(manifest, "features")["digest"],
        mapped,
        digest_code("umtfss/features/diffusion.py"),
    ]
    tokens = max((h * w for h, w in map(store.grid, store.ids)), default=1)
    return write_shard(
        folder,
        spec,
        digest_json(made_of),
        store.ids,
        features.images,
        image_bytes=tokens * features.geometry.channels[DIFFUSED] * np.dtype(np.float16).itemsize,
        description=DIFFUSED,
        packages=("faiss-cpu", "numpy", "h5py"),
    )
