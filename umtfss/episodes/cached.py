"""Episodes on cached features: from an `EpisodeList` to `EpisodeBatch`es.

Shapes: B batch, K shots, C channels of the mid feature, D of the high feature, H W pixels, h w
un-padded grid, g g padded square grid, S S target.

Every random choice is keyed by (seed, episode index, role), so neither workers nor the order of
calls matter. The two flips are the only augmentation of cached features.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from umtfss.common.randomness import generator, seed64
from umtfss.episodes.batch import EpisodeBatch
from umtfss.episodes.episode import Episode, EpisodeList
from umtfss.episodes.masks import ClassMaps, MaskSource
from umtfss.features.geometry import (
    IGNORE,
    GridGeometry,
    check_grid,
    mask_to_grid,
    mask_to_target,
    sampled_mask,
)

Level = np.ndarray | Tensor


class LevelSource(Protocol):
    """What episodes read of features: a `FeatureSource`, or features that lie on a device."""

    geometry: GridGeometry

    def grid(self, image_id: str) -> tuple[int, int]:
        """The image's un-padded grid (h, w)."""

    def read(self, image_id: str, level: str) -> Level:
        """One level of one image, (h, w, C) float16."""


@dataclass(frozen=True)
class ImageItem:
    """One image of an episode on its un-padded grid.

    Attributes:
        mid: One (h, w, C_i) float16 per mid level, on the host or on the model's device.
        high: (h, w, D) float16, likewise.
        mask: (h, w) float32, foreground part of a token.
        valid: (h, w) bool, False on label 255.
        pixels: (2, h, w) uint8, the labels of two single pixels of a token; None for a query.
    """

    mid: tuple[Level, ...]
    high: Level
    mask: np.ndarray
    valid: np.ndarray
    pixels: np.ndarray | None = None


@dataclass(frozen=True)
class EpisodeItem:
    """One episode before padding.

    Attributes:
        query: The query, without its mask, which the model must not see.
        supports: K images.
        key: The episode's key for random choices inside a model.
        side: g.
        target: (S, S) uint8 in {0, 1, 255}; None at test.
        support_target: (K, S, S) uint8 in {0, 1, 255}; None if no loss reads it.
        classes: (S, S) uint8 class map of the query; None if no loss reads it.
        class_index: The episode's class: its number in `classes`, else its id.
    """

    query: ImageItem
    supports: tuple[ImageItem, ...]
    key: int
    side: int
    target: np.ndarray | None
    support_target: np.ndarray | None = None
    classes: np.ndarray | None = None
    class_index: int = 0


class CachedEpisodes(Dataset[EpisodeItem]):
    """Episodes from a feature store; the DataLoader needs `collate`.

    Args:
        episodes: The episodes.
        store: Features by qualified image id.
        mid: Levels of the mid feature.
        high: Level of the prior mask.
        masks: Masks of the episodes' classes.
        seed: Keys the flips and the models' random choices.
        target_side: S, px; None: no target.
        flip: Probability of a horizontal flip, per image.
        vertical_flip: Probability of a vertical flip, per image.
        support_target: Whether the supports have targets, too.
        class_maps: The class maps of the queries; None: no loss reads them.
    """

    def __init__(
        self,
        episodes: EpisodeList,
        store: LevelSource,
        mid: Sequence[str],
        high: str,
        masks: MaskSource,
        *,
        seed: int = 0,
        target_side: int | None = None,
        flip: float = 0.0,
        vertical_flip: float = 0.0,
        support_target: bool = False,
        class_maps: ClassMaps | None = None,
    ) -> None:
        self.support_target, self.class_maps = support_target, class_maps
        self.episodes, self.store, self.masks = episodes, store, masks
        self.mid, self.high = tuple(mid), high
        self.seed, self.target_side = seed, target_side
        self.flip, self.vertical_flip = flip, vertical_flip
        self.side = store.geometry.side

    def __len__(self) -> int:
        return len(self.episodes)

    def __getitem__(self, index: int) -> EpisodeItem:
        episode = self.episodes[index]
        query, target = self._image(episode, "query", None), None
        if self.target_side is not None:
            mask = self.masks.episode_mask(episode, "query")
            target = self._target(episode, "query", mask, self.target_side)
        supports, targets = [], []
        for role in episode.roles:
            if role == "query":
                continue
            mask = self.masks.episode_mask(episode, role)
            supports.append(self._image(episode, role, mask))
            if self.support_target and self.target_side is not None:
                targets.append(self._target(episode, role, mask, self.target_side))
        key = episode_key(self.episodes, index, self.seed)
        together = np.stack(targets) if targets else None
        classes, number = None, episode.class_id
        if self.class_maps is not None and self.target_side is not None:
            class_map = self.class_maps.of(episode.query)
            classes = self._target(episode, "query", class_map, self.target_side)
            number = self.class_maps.index(episode.class_id)
        return EpisodeItem(
            query, tuple(supports), key, self.side, target, together, classes, number
        )

    def _flips(self, episode: Episode, role: str) -> tuple[bool, bool]:
        """Whether the image is mirrored horizontally, and whether vertically."""
        if not (self.flip or self.vertical_flip):
            return False, False
        drawn = generator("augment", self.seed, episode.index, role).random(2)
        return bool(drawn[0] < self.flip), bool(drawn[1] < self.vertical_flip)

    def _target(
        self, episode: Episode, role: str, mask: np.ndarray, target_side: int
    ) -> np.ndarray:
        """The mask (H, W) of the image in a role, at the pixels of the target, (S, S) uint8."""
        mask = _flipped(mask, *self._flips(episode, role))
        grid = self.store.grid(episode.roles[role])
        return mask_to_target(mask, grid, self.side, target_side, self.store.geometry.align_corners)

    def _image(self, episode: Episode, role: str, mask: np.ndarray | None) -> ImageItem:
        """The image in a role, with its mask (H, W); the mask is None for the query."""
        image_id, align = episode.roles[role], self.store.geometry.align_corners
        levels = [self.store.read(image_id, level) for level in (*self.mid, self.high)]
        grid = (levels[0].shape[0], levels[0].shape[1])
        check_grid(grid, self.side, image_id)
        flips = self._flips(episode, role)
        *mid, high = (_flipped_level(level, *flips) for level in levels)
        if mask is None:
            return ImageItem(tuple(mid), high, np.zeros(grid, np.float32), np.ones(grid, bool))
        part, valid = (_flipped(one, *flips) for one in mask_to_grid(mask, grid, align))
        pixels = np.stack([_flipped(one, *flips) for one in sampled_mask(mask, grid, align)])
        return ImageItem(tuple(mid), high, part, valid, pixels)


def _flipped(grid: np.ndarray, flips: bool, flips_vertically: bool) -> np.ndarray:
    """A grid or mask, (h, w, ...), mirrored horizontally and vertically as asked."""
    if not (flips or flips_vertically):
        return grid
    return np.ascontiguousarray(grid[:: -1 if flips_vertically else 1, :: -1 if flips else 1])


def _flipped_level(level: Level, flips: bool, flips_vertically: bool) -> Level:
    """`_flipped` of a level on the host or on a device."""
    if isinstance(level, np.ndarray):
        return _flipped(level, flips, flips_vertically)
    axes = [axis for axis, mirrored in enumerate((flips_vertically, flips)) if mirrored]
    return level.flip(axes) if axes else level


def episode_key(episodes: EpisodeList, index: int, seed: int) -> int:
    """The key of an episode for random choices inside a model, a 63-bit integer."""
    return seed64("model", episodes.key, seed, index)


def collate(items: Sequence[EpisodeItem]) -> EpisodeBatch:
    """Collate episodes into a batch, padded at the right and at the bottom to one grid.

    The grid is the smallest grid that holds every image, because models spend time on padding: a
    quarter of a square grid is padding if all photos are 4:3. Features are float32 in channels-last
    memory, on the device where they lie, if one of them is a tensor; all else is on the CPU.
    """
    queries = [item.query for item in items]
    supports = [image for item in items for image in item.supports]
    shape = (len(items), len(items[0].supports))
    grids = [image.valid.shape for image in (*queries, *supports)]
    grid = max(height for height, _ in grids), max(width for _, width in grids)
    targets = [torch.from_numpy(item.target) for item in items if item.target is not None]
    pixels = [image.pixels for image in supports if image.pixels is not None]
    auxiliary = [
        torch.from_numpy(item.support_target) for item in items if item.support_target is not None
    ]
    classes = [torch.from_numpy(item.classes) for item in items if item.classes is not None]
    index = torch.tensor([item.class_index for item in items], dtype=torch.int64)
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
        support_pixels=_pad_map(pixels, grid, IGNORE).unflatten(0, shape),
        support_target=torch.stack(auxiliary).long() if auxiliary else None,
        query_classes=torch.stack(classes).long() if classes else None,
        class_index=index if targets else None,
    )


def _pad(images: Sequence[Sequence[Level]], grid: tuple[int, int]) -> Tensor:
    """Levels (h, w, C_i) of every image, concatenated and padded to (B, C, *grid)."""
    channels = sum(level.shape[2] for level in images[0])
    devices = {level.device for levels in images for level in levels if isinstance(level, Tensor)}
    padded = torch.empty(len(images), *grid, channels, device=next(iter(devices), None))
    for row, levels in zip(padded, images, strict=True):
        start = 0
        for level in levels:
            height, width, count = level.shape
            row[:height, :width, start : start + count] = torch.as_tensor(level)
            start += count
        row[height:] = 0
        row[:height, width:] = 0
    return padded.permute(0, 3, 1, 2)


def _pad_map(maps: Sequence[np.ndarray], grid: tuple[int, int], fill: int = 0) -> Tensor:
    """Maps (..., h, w), padded to (B, ..., *grid)."""
    lead = maps[0].shape[:-2]
    padded = np.full((len(maps), *lead, *grid), fill, dtype=maps[0].dtype)
    for row, one in zip(padded, maps, strict=True):
        row[..., : one.shape[-2], : one.shape[-1]] = one
    return torch.from_numpy(padded)
