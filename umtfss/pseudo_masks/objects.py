"""Whole objects as regions: the largest part of a photo's spectral cut; not in the paper.

Pixel clusters of photos are parts of objects. Here a photo has one region, its object, and the
objects of all photos are clustered. The cut is the one of `umtfss/pseudo_masks/saliency.py`, of the
photo's own frozen tokens. Shapes: H W pixels, h w grid, C channels, N clusters, R objects.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import ndimage
from tqdm import tqdm

from umtfss.features.store import FeatureSource, unit_tokens
from umtfss.pseudo_masks.regions import NO_REGION, pixel_counts, region_features
from umtfss.pseudo_masks.saliency import SALIENT, salient_pixels
from umtfss.pseudo_masks.store import ImageRegions
from umtfss.pseudo_masks.workers import map_images

# An object covers this share of its photo, and less than half of the photo's outermost pixels.
MIN_AREA, MAX_AREA = 0.04, 0.75
MAX_OUTLINE = 0.5


def salient_object(
    tokens: np.ndarray, grid: tuple[int, int], size: tuple[int, int], align_corners: bool
) -> np.ndarray:
    """The pixels of an image's object, (H, W) bool; all False if the image has none.

    The object is the largest connected part of the salient pixels. A small or a large part, or a
    part that covers half of the image's outline, is no object.

    Args:
        tokens: (h * w, C) float32, of the un-padded image.
        grid: (h, w).
        size: (H, W).
        align_corners: As in `salient_pixels`.
    """
    salient = salient_pixels(tokens, grid, size, align_corners) == SALIENT
    parts, count = ndimage.label(salient)
    if not count:
        return salient
    largest = parts == 1 + np.bincount(parts.ravel())[1:].argmax()
    outline = np.concatenate([largest[0], largest[-1], largest[1:-1, 0], largest[1:-1, -1]])
    is_object = MIN_AREA <= largest.mean() <= MAX_AREA and outline.mean() < MAX_OUTLINE
    return largest & is_object


@dataclass(frozen=True)
class ObjectFinder:
    """Finds the object of one image; picklable.

    Attributes:
        store: Features that are cut and averaged.
        level: Level of the features.
    """

    store: FeatureSource
    level: str

    def find(self, image_id: str) -> tuple[np.ndarray, np.ndarray] | None:
        """The object's pixels, (H, W) bool, and its mean token, (C,) L2-normalised, if any."""
        grid, size = self.store.grid(image_id), self.store.image_size(image_id)
        tokens = unit_tokens(self.store, image_id, self.level)
        align = self.store.geometry.align_corners
        mask = salient_object(tokens, grid, size, align)
        if not mask.any():
            return None
        feature = region_features(mask.astype(np.uint8), np.array([1]), tokens, grid, align)
        return mask, feature[0]

    def feature(self, image_id: str) -> np.ndarray | None:
        """The object's mean token, (C,) float32, L2-normalised; None without an object."""
        found = self.find(image_id)
        return None if found is None else found[1]


def object_features(
    store: FeatureSource, level: str, ids: Sequence[str], workers: int
) -> np.ndarray:
    """The mean tokens of the objects of images, (R, C) float32, L2-normalised, by sorted id.

    Args:
        store: Features that are cut and averaged.
        level: Level of the features.
        ids: Qualified ids of the images, in any order: that of the shards differs.
        workers: Number of processes, each on one thread; 1: this process alone.
    """
    found = map_images(ObjectFinder(store, level).feature, sorted(ids), workers)
    bar = tqdm(found, "objects", total=len(ids), unit="image")
    kept = [feature for feature in bar if feature is not None]
    return np.array(kept, np.float32).reshape(-1, store.geometry.channels[level])


@dataclass(frozen=True)
class ObjectMasker:
    """Computes the regions of one image, which are its object or none; picklable.

    Attributes:
        store: Features that are cut and averaged.
        level: Level of the features.
        centroids: (N, C) float32, centres of the clusters of objects.
    """

    store: FeatureSource
    level: str
    centroids: np.ndarray

    @property
    def clusters(self) -> int:
        """N."""
        return len(self.centroids)

    @property
    def record(self) -> dict[str, Any]:
        """The settings that decide the masks, JSON-able."""
        return {"area": [MIN_AREA, MAX_AREA], "outline": MAX_OUTLINE}

    def compute(self, image_id: str) -> ImageRegions:
        """The object of an image as a region of the nearest cluster."""
        found = ObjectFinder(self.store, self.level).find(image_id)
        if found is None:
            height, width = self.store.image_size(image_id)
            labels = np.full((height, width), NO_REGION, np.uint8)
            feature = np.empty((0, self.centroids.shape[1]), np.float32)
            none = np.empty(0, np.int64)
            return ImageRegions(labels, none, none, feature, pixel_counts(labels, self.clusters))
        mask, feature = found
        nearest = np.array([np.square(self.centroids - feature).sum(1).argmin()])
        labels = np.where(mask, nearest, NO_REGION).astype(np.uint8)
        area = np.array([np.count_nonzero(mask)])
        counts = pixel_counts(labels, self.clusters)
        return ImageRegions(labels, nearest, area, feature[None], counts)
