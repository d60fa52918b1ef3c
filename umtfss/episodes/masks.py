"""Sources of the binary masks of episodes.

Shapes: H W pixels.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
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

    @abstractmethod
    def class_map(self, image_id: str, classes: Sequence[int]) -> np.ndarray:
        """The class of every pixel, (H, W) uint8: 0 background, 255 ignored.

        Args:
            image_id: The image.
            classes: At most 254 classes, numbered from 1 on in the map; others are background.
        """

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

    def class_map(self, image_id: str, classes: Sequence[int]) -> np.ndarray:
        """The map of some classes, (H, W) uint8; pixels of other classes are background."""
        labels = self.catalog.mask(image_id)
        numbered = _numbered(labels, classes)
        numbered[labels == IGNORE] = IGNORE
        return numbered


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

    def class_map(self, image_id: str, classes: Sequence[int]) -> np.ndarray:
        """The map of some clusters, (H, W) uint8 without 255."""
        return _numbered(self.store.label_map(image_id), classes)


@dataclass(frozen=True)
class ClassMaps:
    """Class maps of training images, with the classes of the tasks numbered from 1 on.

    Attributes:
        masks: The masks of classes or clusters.
        classes: Ids of the classes.
    """

    masks: ClassMasks
    classes: tuple[int, ...]

    def of(self, image_id: str) -> np.ndarray:
        """The class map of an image, (H, W) uint8: 0 background, 255 ignored."""
        return self.masks.class_map(image_id, self.classes)

    def index(self, class_id: int) -> int:
        """The number of a class in the maps."""
        return self.classes.index(class_id) + 1


def _numbered(labels: np.ndarray, classes: Sequence[int]) -> np.ndarray:
    """The number of every pixel's class, from 1 on; 0 for others, (H, W) uint8."""
    numbers = np.zeros(256, np.uint8)
    numbers[list(classes)] = np.arange(1, len(classes) + 1)
    numbered: np.ndarray = numbers[labels]
    return numbered
