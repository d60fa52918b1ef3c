"""From features to pseudo-masks, clustered or salient, for every image of a shard.

Shapes: H W pixels, h w grid, C channels, N clusters.
"""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from loky import ProcessPoolExecutor
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from umtfss.common.device import release_freed_memory
from umtfss.common.errors import DataError, StoreError
from umtfss.data.catalog import Catalog
from umtfss.experiment.pseudo_masks import PseudoMasksConfig
from umtfss.features.store import FeatureStore, unit_tokens
from umtfss.pseudo_masks.assign import assign_pixels
from umtfss.pseudo_masks.regions import (
    keep_clusters,
    pixel_counts,
    region_features,
    valid_regions,
)
from umtfss.pseudo_masks.saliency import salient_pixels
from umtfss.pseudo_masks.store import KIND, ImageRegions, ShardWriter
from umtfss.pseudo_masks.superpixels import felzenszwalb_superpixels, majority_vote

logger = logging.getLogger(__name__)
SLAB = 64  # images per process in progress at once
RELEASE_EVERY = 64  # a process gives freed memory back after this number of images


class PixelLabels(Protocol):
    """A picklable function that labels the pixels of an image by its tokens."""

    def __call__(
        self,
        tokens: np.ndarray,
        grid: tuple[int, int],
        *,
        size: tuple[int, int],
        align_corners: bool,
    ) -> np.ndarray:
        """The label of every pixel, (H, W) uint8, from tokens (h * w, C) float32."""


@dataclass(frozen=True)
class PseudoMasker:
    """Computes the pseudo-masks of one image; picklable.

    Attributes:
        store: Features for assignment.
        level: Level of the features.
        catalog: Source of the images; only superpixels need it.
        label_pixels: Labels pixels 0 .. labels - 1.
        labels: Number of labels.
        clusters: N; regions of labels 0 .. N - 1 are kept.
        settings: Superpixels and the validity of regions.
    """

    store: FeatureStore
    level: str
    catalog: Catalog
    label_pixels: PixelLabels
    labels: int
    clusters: int
    settings: PseudoMasksConfig

    def compute(self, image_id: str) -> ImageRegions:
        """The label map and the valid regions of an image.

        Raises:
            DataError: The image has another size than when its features were stored.
        """
        grid, size = self.store.grid(image_id), self.store.image_size(image_id)
        tokens = unit_tokens(self.store, image_id, self.level)
        align = self.store.geometry.align_corners
        labels = self.label_pixels(tokens, grid, size=size, align_corners=align)
        if self.settings.superpixels == "felzenszwalb":
            image = self.catalog.image(image_id)
            if image.shape[:2] != tuple(size):
                raise DataError(
                    f"image {image_id} is not the one whose features are stored",
                    expected=f"{size[0]} x {size[1]} px",
                    found=f"{image.shape[0]} x {image.shape[1]} px",
                    fix="delete its features and run snakemake --cores all all_features",
                )
            labels = majority_vote(labels, felzenszwalb_superpixels(image, self.settings))
        pixels = pixel_counts(labels, self.clusters)
        clusters, area = valid_regions(labels, self.labels, self.settings)
        clusters, area = clusters[clusters < self.clusters], area[clusters < self.clusters]
        feature = region_features(labels, clusters, tokens, grid, align)
        return ImageRegions(keep_clusters(labels, clusters), clusters, area, feature, pixels)


def make_pseudo_masks(
    store: FeatureStore,
    level: str,
    catalog: Catalog,
    ids: Sequence[str],
    centroids: np.ndarray,
    settings: PseudoMasksConfig,
    path: Path,
    workers: int,
) -> str:
    """Write the pseudo-masks of a shard and their manifest, and return the content digest.

    The digest does not depend on the number of workers.

    Args:
        store: Features for assignment.
        level: Level of the features.
        catalog: Source of the images.
        ids: Qualified ids of the shard's images, in the order stored.
        centroids: (N, C) float32, N <= 254.
        settings: Superpixels and the validity of regions.
        path: The shard, a `.h5` file, written atomically.
        workers: Number of processes, each on one thread; 1: this process alone.

    Raises:
        StoreError: The centres do not fit the features.
        DataError: An image has another size than when its features were stored.
    """
    channels = store.geometry.channels[level]
    if centroids.shape[1] != channels:
        raise StoreError(
            f"the cluster centres do not fit the features of level {level}",
            expected=f"{channels} channels",
            found=f"{centroids.shape[1]} channels",
            fix="run snakemake --cores all all_clustering again for these features",
        )
    count = len(centroids)
    nearest = partial(assign_pixels, centroids=centroids)
    masker = PseudoMasker(store, level, catalog, nearest, count, count, settings)
    digest = sha256(centroids.astype("<f4").tobytes()).hexdigest()
    hint = f"lower pseudo_masks.min_area ({settings.min_area} px) or the number of clusters"
    return _write_shard(masker, ids, digest, f"{hint} ({count})", path, workers)


def make_saliency_masks(
    store: FeatureStore,
    level: str,
    catalog: Catalog,
    ids: Sequence[str],
    settings: PseudoMasksConfig,
    path: Path,
    workers: int,
) -> str:
    """Write the salient regions of a shard as cluster 0, as `make_pseudo_masks` does.

    A salient region depends on its image alone. The superpixel vote and the validity of regions are
    the same as for clusters.

    Args:
        store: Features that are cut.
        level: Level of the features.
        catalog: Source of the images.
        ids: Qualified ids of the shard's images, in the order stored.
        settings: Superpixels and the validity of regions.
        path: The shard, a `.h5` file, written atomically.
        workers: Number of processes, each on one thread; 1: this process alone.

    Raises:
        DataError: An image has another size than when its features were stored.
    """
    masker = PseudoMasker(
        store, level, catalog, salient_pixels, labels=2, clusters=1, settings=settings
    )
    hint = f"lower pseudo_masks.min_area ({settings.min_area} px)"
    return _write_shard(masker, ids, "saliency", hint, path, workers)


def _write_shard(
    masker: PseudoMasker, ids: Sequence[str], centroids: str, hint: str, path: Path, workers: int
) -> str:
    """Write a shard and return its content digest; `hint` is the advice if few images are used."""
    facts: dict[str, Any] = {"images": len(ids)}
    with _one_thread(), KIND.create(path, facts, libver="latest") as file:
        writer = ShardWriter(
            file,
            ids,
            clusters=masker.clusters,
            channels=masker.store.geometry.channels[masker.level],
            centroids=centroids,
            settings={**masker.settings.model_dump(mode="json"), "level": masker.level},
        )
        images = _compute_all(masker, ids, workers)
        used = 0
        bar = tqdm(images, "pseudo-masks", total=len(ids), unit="image")
        for number, image in enumerate(bar, 1):
            writer.append(image)
            used += len(image.cluster) > 0
            if number % RELEASE_EVERY == 0:
                release_freed_memory()
        if 2 * used < len(ids):
            logger.warning(
                "only %d of %d images hold a valid region, and only they are learnt from: %s",
                used,
                len(ids),
                hint,
            )
        facts["digest"] = writer.finish()
    return facts["digest"]


_worker_masker: PseudoMasker  # set once per process, instead of sent with every image
_worker_images = 0  # number of images that this process has computed


def _start_worker(masker: PseudoMasker) -> None:
    global _worker_masker
    _worker_masker = masker
    torch.set_num_threads(1)
    threadpool_limits(1)  # with several BLAS threads a process, a spectral cut takes twice as long


def _compute_one(image_id: str) -> ImageRegions:
    global _worker_images
    _worker_images += 1
    if _worker_images % RELEASE_EVERY == 0:
        release_freed_memory()
    return _worker_masker.compute(image_id)


def _compute_all(masker: PseudoMasker, ids: Sequence[str], workers: int) -> Iterator[ImageRegions]:
    """The pseudo-masks of every image in order; at most a slab of images is in memory."""
    if workers == 1:
        yield from map(masker.compute, ids)
        return
    slab = SLAB * workers
    # loky starts new processes; a fork of a process whose OpenMP threads have run may hang
    with ProcessPoolExecutor(workers, initializer=_start_worker, initargs=(masker,)) as pool:
        for start in range(0, len(ids), slab):
            yield from pool.map(_compute_one, ids[start : start + slab], chunksize=2)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Torch and BLAS on one thread, as in a worker: results do not depend on `workers`."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(1):
            yield
    finally:
        torch.set_num_threads(threads)
