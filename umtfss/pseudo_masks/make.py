"""From features to pseudo-masks for every image of a shard: clusters, salient regions or objects.

Shapes: H W pixels, h w grid, C channels, N clusters.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from tqdm import tqdm

from umtfss.common.errors import DataError, StoreError
from umtfss.data.catalog import Catalog
from umtfss.experiment.pseudo_masks import PseudoMasksConfig
from umtfss.features.store import FeatureStore, unit_tokens
from umtfss.pseudo_masks.assign import assign_pixels
from umtfss.pseudo_masks.objects import ObjectMasker
from umtfss.pseudo_masks.regions import (
    keep_clusters,
    pixel_counts,
    region_features,
    valid_regions,
)
from umtfss.pseudo_masks.saliency import salient_pixels
from umtfss.pseudo_masks.store import KIND, ImageRegions, ShardWriter
from umtfss.pseudo_masks.superpixels import felzenszwalb_superpixels, majority_vote
from umtfss.pseudo_masks.workers import map_images

logger = logging.getLogger(__name__)


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

    @property
    def record(self) -> dict[str, Any]:
        """The settings that decide the masks, JSON-able."""
        return self.settings.model_dump(mode="json")

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
    _check_channels(store, level, centroids)
    count = len(centroids)
    nearest = partial(assign_pixels, centroids=centroids)
    masker = PseudoMasker(store, level, catalog, nearest, count, count, settings)
    hint = f"lower pseudo_masks.min_area ({settings.min_area} px) or the number of clusters"
    return _write_shard(masker, ids, _digest(centroids), f"{hint} ({count})", path, workers)


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


def make_object_masks(
    store: FeatureStore,
    level: str,
    ids: Sequence[str],
    centroids: np.ndarray,
    path: Path,
    workers: int,
) -> str:
    """Write the objects of a shard's images, each with its cluster, and return the content digest.

    Args:
        store: Features that are cut and averaged.
        level: Level of the features.
        ids: Qualified ids of the shard's images, in the order stored.
        centroids: (N, C) float32, N <= 254, centres of the clusters of objects.
        path: The shard, a `.h5` file, written atomically.
        workers: Number of processes, each on one thread; 1: this process alone.

    Raises:
        StoreError: The centres do not fit the features.
    """
    _check_channels(store, level, centroids)
    masker = ObjectMasker(store, level, centroids)
    hint = "give photos of single objects"
    return _write_shard(masker, ids, _digest(centroids), hint, path, workers)


def _check_channels(store: FeatureStore, level: str, centroids: np.ndarray) -> None:
    channels = store.geometry.channels[level]
    if centroids.shape[1] != channels:
        raise StoreError(
            f"the cluster centres do not fit the features of level {level}",
            expected=f"{channels} channels",
            found=f"{centroids.shape[1]} channels",
            fix="run snakemake --cores all all_clustering again for these features",
        )


def _digest(centroids: np.ndarray) -> str:
    return sha256(centroids.astype("<f4").tobytes()).hexdigest()


def _write_shard(
    masker: PseudoMasker | ObjectMasker,
    ids: Sequence[str],
    centroids: str,
    hint: str,
    path: Path,
    workers: int,
) -> str:
    """Write a shard and return its content digest; `hint` is the advice if few images are used."""
    facts: dict[str, Any] = {"images": len(ids)}
    with KIND.create(path, facts, libver="latest") as file:
        writer = ShardWriter(
            file,
            ids,
            clusters=masker.clusters,
            channels=masker.store.geometry.channels[masker.level],
            centroids=centroids,
            settings={**masker.record, "level": masker.level},
        )
        images = map_images(masker.compute, ids, workers)
        used = 0
        for image in tqdm(images, "pseudo-masks", total=len(ids), unit="image"):
            writer.append(image)
            used += len(image.cluster) > 0
        if 2 * used < len(ids):
            logger.warning(
                "only %d of %d images hold a valid region, and only they are learnt from: %s",
                used,
                len(ids),
                hint,
            )
        facts["digest"] = writer.finish()
    return facts["digest"]
