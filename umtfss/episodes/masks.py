"""Sources of the binary masks of episodes.

Shapes: H W pixels.
"""

from abc import ABC, abstractmethod
from typing import Protocol

import numpy as np

from umtfss.data.image_source import ImageSource
from umtfss.episodes.episode import Episode
from umtfss.features.geometry import (
    IGNORE,
)


class LabelMaps(Protocol):
    """Label maps by image id; `PseudoMaskStore` implements it."""

    def label_map(self, image_id: str) -> np.ndarray:
        """The cluster of every pixel, (H, W) uint8; 255 where there is none."""


class LabelledImages(ImageSource, Protocol):
    """Images and masks by image id; `Catalog` implements it."""

    def mask(self, qualified: str) -> np.ndarray:
        """The class of every pixel, (H, W) uint8; 255 is ignored."""


class MaskSource(Protocol):
    """A source of the binary masks of episodes."""

    def episode_mask(self, episode: Episode, role: str) -> np.ndarray:
        """The mask of the image in a role, (H, W) uint8: 1 foreground, 0 background, 255 ignored.

        Args:
            episode: The episode.
            role: One of `episode.roles`.
        """


class ClassMasks(ABC):
    """Masks of classes or clusters; an image has the same mask in every role."""

    @abstractmethod
    def mask(self, image_id: str, class_id: int) -> np.ndarray:
        """The mask, (H, W) uint8: 1 foreground, 0 background, 255 ignored."""

    def episode_mask(self, episode: Episode, role: str) -> np.ndarray:
        """The mask of the episode's class in the image in a role, (H, W) uint8."""
        return self.mask(episode.roles[role], episode.class_id)


class GroundTruthMasks(ClassMasks):
    """Masks of labelled classes.

    Args:
        catalog: The data sets by qualified image id.
    """

    def __init__(self, catalog: LabelledImages) -> None:
        self.catalog = catalog

    def mask(self, image_id: str, class_id: int) -> np.ndarray:
        """The mask of a class, (H, W) uint8 in {0, 1, 255}."""
        labels = self.catalog.mask(image_id)
        binary = (labels == class_id).astype(np.uint8)
        binary[labels == IGNORE] = IGNORE
        return binary


class PseudoMasks(ClassMasks):
    """Masks of clusters; pixels without a valid region are background, so none is ignored.

    Args:
        store: The pseudo-masks by qualified image id.
    """

    def __init__(self, store: LabelMaps) -> None:
        self.store = store

    def mask(self, image_id: str, class_id: int) -> np.ndarray:
        """The mask of a cluster, (H, W) uint8 in {0, 1}."""
        return (self.store.label_map(image_id) == class_id).astype(np.uint8)
