"""Episodes from cached features: from an `EpisodeList` to `EpisodeBatch`es.

Shapes: B batch, K shots, C channels of the mid feature, D of the high feature, H W pixels, h w
un-padded grid, g g padded square grid, S S target.

Every random choice is keyed by (seed, episode index, role), so neither workers nor the order of
calls matter. Cached features know two augmentations: the horizontal flip, and for MaskSplit a crop
of the tokens. A cropped token has seen the whole image, unlike that of a cropped image.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from umtfss.config import SplitConfig
from umtfss.episodes.batch import EpisodeBatch
from umtfss.episodes.episode import Episode, EpisodeList
from umtfss.episodes.geometry import (
    IGNORE,
    Window,
    check_grid,
    crop_corner,
    grid_side,
    mask_to_grid,
    mask_to_target,
)
from umtfss.randomness import generator, seed64


class FeatureSource(Protocol):
    """What is asked of features: `FeatureStore` has it, and so has `LiveFeatures`."""

    channels: dict[str, int]
    long_side: int
    stride: int
    multiple: int
    align_corners: bool

    def grid(self, image_id: str) -> tuple[int, int]:
        """The image's un-padded grid (h, w)."""

    def image_size(self, image_id: str) -> tuple[int, int]:
        """The image's original (H, W), px."""

    def read(self, image_id: str, level: str) -> np.ndarray:
        """One level of one image, (h, w, C) float16."""


class LabelMaps(Protocol):
    """What is asked of a `PseudoMaskStore`."""

    def label_map(self, image_id: str) -> np.ndarray:
        """The cluster of every pixel, (H, W) uint8; 255 where there is none."""


class LabelledImages(Protocol):
    """What is asked of a `Catalog`."""

    def image(self, qualified: str) -> np.ndarray:
        """The image, (H, W, 3) uint8 RGB."""

    def mask(self, qualified: str) -> np.ndarray:
        """The class of every pixel, (H, W) uint8; 255 is ignored."""


class MaskSource(Protocol):
    """Where the binary mask of an image and a class (or cluster) comes from."""

    def mask(self, image_id: str, class_id: int) -> np.ndarray:
        """The mask, (H, W) uint8: 1 foreground, 0 background, 255 ignored."""


class GroundTruthMasks:
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


class PseudoMasks:
    """Masks of clusters; no pixel is ignored, as what has no valid region is background.

    Args:
        store: The pseudo-masks by qualified image id.
    """

    def __init__(self, store: LabelMaps) -> None:
        self.store = store

    def mask(self, image_id: str, class_id: int) -> np.ndarray:
        """The mask of a cluster, (H, W) uint8 in {0, 1}."""
        return (self.store.label_map(image_id) == class_id).astype(np.uint8)


@dataclass(frozen=True)
class ImageItem:
    """One image of an episode on its un-padded grid.

    Attributes:
        mid: One (h, w, C_i) float16 per mid level.
        high: (h, w, D) float16.
        mask: (h, w) float32, foreground part of a token.
        valid: (h, w) bool, False on label 255.
    """

    mid: tuple[np.ndarray, ...]
    high: np.ndarray
    mask: np.ndarray
    valid: np.ndarray


@dataclass(frozen=True)
class EpisodeItem:
    """One episode before it is padded.

    Attributes:
        query: Its mask is unused here: the model must not see it.
        supports: K images.
        key: The episode's key for everything random inside a model.
        side: g.
        target: (S, S) uint8 in {0, 1, 255}, or None at test.
    """

    query: ImageItem
    supports: tuple[ImageItem, ...]
    key: int
    side: int
    target: np.ndarray | None


class CachedEpisodes(Dataset[EpisodeItem]):
    """Episodes read from a feature store; give `collate` to the DataLoader.

    Args:
        episodes: The episodes.
        store: Features by qualified image id.
        mid: Levels of the mid feature.
        high: Level of the prior mask.
        masks: Masks of the episodes' classes.
        seed: Keys the flips and the models' random choices.
        target_side: S, px; None for no target.
        flip: Probability of a horizontal flip, per image.
        crop: Crops every image of an episode, each its own way; none: whole images.
    """

    def __init__(
        self,
        episodes: EpisodeList,
        store: FeatureSource,
        mid: Sequence[str],
        high: str,
        masks: MaskSource,
        *,
        seed: int = 0,
        target_side: int | None = None,
        flip: float = 0.0,
        crop: SplitConfig | None = None,
    ) -> None:
        self.episodes, self.store, self.masks = episodes, store, masks
        self.mid, self.high = tuple(mid), high
        self.seed, self.target_side, self.flip, self.crop = seed, target_side, flip, crop
        self.side = grid_side(store.long_side, store.multiple, store.stride, store.align_corners)

    def __len__(self) -> int:
        return len(self.episodes)

    def __getitem__(self, index: int) -> EpisodeItem:
        episode = self.episodes[index]
        roles = [f"support{k}" for k in range(self.episodes.shot)]
        target = None
        window = self._window(episode, episode.query, "query")
        if self.target_side is not None:
            target = self._target(episode, self.target_side, window)
        query = self._image(episode, episode.query, "query", window)
        supports = tuple(
            self._image(episode, image_id, role, self._window(episode, image_id, role))
            for image_id, role in zip(episode.supports, roles, strict=True)
        )
        return EpisodeItem(
            query, supports, episode_key(self.episodes, index, self.seed), self.side, target
        )

    def _flips(self, episode: Episode, role: str) -> bool:
        if self.flip == 0:
            return False
        return bool(generator("augment", self.seed, episode.index, role).random() < self.flip)

    def _window(self, episode: Episode, image_id: str, role: str) -> Window | None:
        """The crop of an image in a role; none if nothing is cropped."""
        if self.crop is None:
            return None
        grid = self.store.grid(image_id)
        random = generator("crop", self.seed, episode.index, role)
        parts = random.uniform(self.crop.crop_min, self.crop.crop_max, 2)
        # two tokens at least, so that a backbone that aligns corners has two to align
        height, width = (
            max(round(part * tokens), min(2, tokens))
            for part, tokens in zip(parts.tolist(), grid, strict=True)
        )
        mask = self.masks.mask(image_id, episode.class_id)
        part, _ = mask_to_grid(mask, grid, self.store.align_corners)
        corner = crop_corner(part, height, width, self.crop.crop_foreground, random.random())
        return Window(*corner, height, width)

    def _target(self, episode: Episode, target_side: int, window: Window | None) -> np.ndarray:
        mask = self.masks.mask(episode.query, episode.class_id)
        grid, align = self.store.grid(episode.query), self.store.align_corners
        if self._flips(episode, "query"):
            mask = mask[:, ::-1]
            if window is not None:
                window = window._replace(left=grid[1] - window.left - window.width)
        return mask_to_target(mask, grid, self.side, target_side, align, window)

    def _image(
        self, episode: Episode, image_id: str, role: str, window: Window | None
    ) -> ImageItem:
        levels = [self.store.read(image_id, level) for level in (*self.mid, self.high)]
        grid = levels[0].shape[:2]
        check_grid(grid, self.side, image_id)
        part, valid = np.zeros(grid, np.float32), np.ones(grid, bool)
        if role != "query":
            mask = self.masks.mask(image_id, episode.class_id)
            part, valid = mask_to_grid(mask, grid, self.store.align_corners)
        if window is not None:
            top, left, height, width = window
            shown = slice(top, top + height), slice(left, left + width)
            levels = [np.ascontiguousarray(level[shown]) for level in levels]
            part, valid = part[shown].copy(), valid[shown].copy()
        if self._flips(episode, role):
            levels = [np.ascontiguousarray(level[:, ::-1]) for level in levels]
            part, valid = part[:, ::-1].copy(), valid[:, ::-1].copy()
        return ImageItem(tuple(levels[:-1]), levels[-1], part, valid)


def episode_key(episodes: EpisodeList, index: int, seed: int) -> int:
    """The key of an episode for everything random inside a model, a 63-bit integer."""
    return seed64("model", episodes.key, seed, index)


def collate(items: Sequence[EpisodeItem]) -> EpisodeBatch:
    """A batch padded at the right and at the bottom to one grid, on the CPU.

    The grid is the smallest that holds every image: models compute padding, too, and a quarter of
    a square is padding if all photos are 4:3. Features come as float32 in channels-last memory.
    """
    queries = [item.query for item in items]
    supports = [image for item in items for image in item.supports]
    shape = (len(items), len(items[0].supports))
    grids = [image.valid.shape for image in (*queries, *supports)]
    grid = max(height for height, _ in grids), max(width for _, width in grids)
    targets = [torch.from_numpy(item.target) for item in items if item.target is not None]
    return EpisodeBatch(
        query_mid=_pad([image.mid for image in queries], grid),
        query_high=_pad([(image.high,) for image in queries], grid),
        query_valid=_pad_map([image.valid for image in queries], grid),
        support_mid=_pad([image.mid for image in supports], grid).unflatten(0, shape),
        support_high=_pad([(image.high,) for image in supports], grid).unflatten(0, shape),
        support_valid=_pad_map([image.valid for image in supports], grid).unflatten(0, shape),
        support_mask=_pad_map([image.mask for image in supports], grid).unflatten(0, shape),
        key=torch.tensor([item.key for item in items], dtype=torch.int64),
        target=torch.stack(targets).long() if targets else None,
        side=items[0].side,
    )


def _pad(images: Sequence[Sequence[np.ndarray]], grid: tuple[int, int]) -> Tensor:
    """Levels (h, w, C_i) of every image, concatenated and padded to (B, C, *grid)."""
    channels = sum(level.shape[2] for level in images[0])
    padded = torch.empty(len(images), *grid, channels)
    for row, levels in zip(padded, images, strict=True):
        start = 0
        for level in levels:
            height, width, count = level.shape
            row[:height, :width, start : start + count] = torch.from_numpy(level)
            start += count
        row[height:] = 0
        row[:height, width:] = 0
    return padded.permute(0, 3, 1, 2)


def _pad_map(maps: Sequence[np.ndarray], grid: tuple[int, int]) -> Tensor:
    """Maps (h, w), padded with zeros to (B, *grid)."""
    padded = np.zeros((len(maps), *grid), dtype=maps[0].dtype)
    for row, one in zip(padded, maps, strict=True):
        row[: one.shape[0], : one.shape[1]] = one
    return torch.from_numpy(padded)
