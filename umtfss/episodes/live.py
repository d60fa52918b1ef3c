"""Episodes on live features: augmentation and the backbone in the loop.

Shapes: B batch, K shots, C channels, H W pixels, h w scaled pixels, P P augmented image, g g grid,
S S target.

In training, `LiveEpisodes` yields scaled images and augmented masks from the loader's processes.
`Featuriser` augments the images and runs the frozen backbone, on the device. Query and supports are
augmented independently, each with a generator keyed by (seed, episode index, role). In tests,
`LiveFeatures` replaces the feature store.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset
from torchvision.transforms.v2 import functional as transforms

from umtfss.backbones.extractor import Extractor
from umtfss.common.randomness import generator
from umtfss.episodes.augment import (
    OUTSIDE,
    crop,
    draw_view,
    place_of,
    scaled_image,
    uncropped_mask,
    viewed,
)
from umtfss.episodes.batch import EpisodeBatch
from umtfss.episodes.cached import episode_key
from umtfss.episodes.episode import EpisodeList
from umtfss.episodes.masks import ClassMaps, LabelledImages, MaskSource
from umtfss.experiment.augment import AugmentConfig
from umtfss.features.geometry import IGNORE, cell_weights, crop_corner, target_index, token_pixels

JITTER = 0.2


@dataclass(frozen=True)
class LiveBatch:
    """B augmented episodes; index 0 of the second axis is the query.

    Attributes:
        images: (B, 1 + K, 3, h, w) uint8, scaled and padded to one size; without `places`,
            augmented images, (B, 1 + K, 3, P, P) float32 in [0, 1].
        masks: (B, 1 + K, P, P) uint8: 0 background, 1 foreground, 2 outside the image, 255
            ignored.
        key: (B,) int64.
        places: (B, 1 + K, 7) float32, how the images are still to be augmented (`augment.viewed`).
        classes: (B, P, P) uint8 class maps of the queries, 255 outside; None if no loss reads them.
        class_index: (B,) int64, the episodes' classes: their numbers in `classes`, else their ids.
    """

    images: Tensor
    masks: Tensor
    key: Tensor
    class_index: Tensor
    places: Tensor | None = None
    classes: Tensor | None = None

    def pin_memory(self) -> "LiveBatch":
        """The batch in page-locked memory, for asynchronous copies; the DataLoader calls this."""
        given = {k: v for k, v in vars(self).items() if v is not None}
        return LiveBatch(**{k: v.pin_memory() for k, v in given.items()})


@dataclass(frozen=True)
class LiveItem:
    """One augmented episode; index 0 of the first axis is the query.

    Attributes:
        images: 1 + K scaled images, (3, h, w) uint8 each.
        masks: (1 + K, P, P) uint8, as in `LiveBatch`.
        key: The episode's key for random choices inside a model.
        places: (1 + K, 7) float32, as in `LiveBatch`.
        classes: (P, P) uint8 class map of the query, 255 outside; None if no loss reads it.
        class_index: The episode's class: its number in `classes`, else its id.
    """

    images: tuple[Tensor, ...]
    masks: Tensor
    key: int
    places: Tensor
    class_index: int
    classes: Tensor | None = None


class LiveEpisodes(Dataset[LiveItem]):
    """Augmented images and masks of episodes; the DataLoader needs `collate_live`.

    Args:
        episodes: The episodes.
        catalog: Images by qualified id.
        masks: Masks of the episodes' classes.
        extractor: The backbone that will see the images. Only its geometry is kept, so that its
            weights are not sent to the loader's processes.
        long_side: Image long side at scale 1, px.
        augment: Settings of the augmentation; scales multiply the long side.
        seed: Keys the augmentation and the models' random choices.
        class_maps: The class maps of the queries; None: no loss reads them.
    """

    def __init__(
        self,
        episodes: EpisodeList,
        catalog: LabelledImages,
        masks: MaskSource,
        *,
        extractor: Extractor,
        long_side: int,
        augment: AugmentConfig,
        seed: int = 0,
        class_maps: ClassMaps | None = None,
    ) -> None:
        self.episodes, self.catalog, self.masks = episodes, catalog, masks
        self.class_maps = class_maps
        self.augment, self.seed = augment, seed
        self.pixels = extractor.resized(long_side, long_side, long_side)[0]

    def __len__(self) -> int:
        return len(self.episodes)

    def __getitem__(self, index: int) -> LiveItem:
        episode, maps = self.episodes[index], self.class_maps
        images, places, masks, classes = [], [], [], []
        for role, image_id in episode.roles.items():
            has_map = maps is not None and role == "query"
            image, place, mask, *others = augmented(
                self.catalog.image(image_id),
                self.masks.episode_mask(episode, role),
                self.augment,
                pixels=self.pixels,
                random=generator("augment", self.seed, episode.index, role),
                classes=maps.of(image_id) if has_map and maps is not None else None,
            )
            images.append(image)
            places.append(place)
            masks.append(mask)
            classes += others
        key = episode_key(self.episodes, index, self.seed)
        number = episode.class_id if maps is None else maps.index(episode.class_id)
        return LiveItem(
            tuple(images), torch.stack(masks), key, torch.stack(places), number, *classes
        )


def collate_live(items: Sequence[LiveItem]) -> LiveBatch:
    """Collate augmented episodes into a batch."""
    classes = [item.classes for item in items if item.classes is not None]
    keys, index = ([getattr(item, name) for item in items] for name in ("key", "class_index"))
    return LiveBatch(
        _together([item.images for item in items]),
        torch.stack([item.masks for item in items]),
        torch.tensor(keys, dtype=torch.int64),
        torch.tensor(index, dtype=torch.int64),
        torch.stack([item.places for item in items]),
        torch.stack(classes) if classes else None,
    )


def _together(episodes: Sequence[Sequence[Tensor]]) -> Tensor:
    """Images of several sizes, padded at the right and at the bottom, (B, 1 + K, 3, h, w)."""
    sizes = [image.shape[1:] for images in episodes for image in images]
    height, width = (max(side) for side in zip(*sizes, strict=True))
    together = torch.zeros(len(episodes), len(episodes[0]), 3, height, width, dtype=torch.uint8)
    for images, row in zip(episodes, together, strict=True):
        for image, place in zip(images, row, strict=True):
            place[:, : image.shape[1], : image.shape[2]] = image
    return together


def augmented(
    image: np.ndarray,
    mask: np.ndarray,
    settings: AugmentConfig,
    *,
    pixels: int,
    random: np.random.Generator,
    classes: np.ndarray | None = None,
) -> tuple[Tensor, ...]:
    """The recoloured and scaled image, what `viewed` needs to augment it further, and the masks.

    Args:
        image: (H, W, 3) uint8.
        mask: (H, W) uint8 in {0, 1, 255}.
        settings: Probabilities and ranges.
        pixels: P, also the image's long side at scale 1.
        random: Draws every parameter, always the same number of times.
        classes: (H, W) uint8 class map of the image, if there is one.

    Returns:
        The image, (3, h, w) uint8; its place, (7,) float32; the mask, (P, P) uint8 in {0, 1, 2
        (outside), 255}; and the class map, if given, (P, P) uint8 with 255 outside.
    """
    size = mask.shape[0], mask.shape[1]
    view, position = draw_view(settings, random, size, pixels)
    if random.random() < settings.vertical_flip:
        image, mask = image[::-1], mask[::-1]
        classes = None if classes is None else classes[::-1]
    image = recoloured(image, settings, random)
    labels = uncropped_mask(mask, view, pixels)
    foreground = (labels == 1).numpy()
    top, left = crop_corner(foreground, pixels, pixels, settings.crop_foreground, position)
    view = view._replace(top=top, left=left)
    picture = scaled_image(image, view, pixels)
    place = place_of(view, picture)
    labels = crop(labels, view, pixels)
    if classes is None:
        return picture, place, labels
    numbered = crop(uncropped_mask(classes, view, pixels), view, pixels)
    return picture, place, labels, numbered.masked_fill(labels == OUTSIDE, IGNORE)


def recoloured(
    image: np.ndarray, settings: AugmentConfig, random: np.random.Generator
) -> np.ndarray:
    """The image with its colours jittered and turned to gray, (H, W, 3) uint8.

    Brightness, contrast and saturation change by a factor of 0.8 to 1.2 and the hue by up to 0.2 of
    its circle, in a random order, as in MaskSplit (arXiv:2110.12207).

    Args:
        image: (H, W, 3) uint8.
        settings: Probabilities.
        random: Draws every parameter, always the same number of times.
    """
    jitters, grays = random.random(2) < (settings.jitter, settings.gray)
    factors = random.uniform(1 - JITTER, 1 + JITTER, 3).tolist()
    hue = float(random.uniform(-JITTER, JITTER))
    order = random.permutation(4).tolist()
    if not (jitters or grays):
        return image
    picture = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)
    if jitters:
        changes = (
            partial(transforms.adjust_brightness, brightness_factor=factors[0]),
            partial(transforms.adjust_contrast, contrast_factor=factors[1]),
            partial(transforms.adjust_saturation, saturation_factor=factors[2]),
            partial(transforms.adjust_hue, hue_factor=hue),
        )
        for place in order:
            picture = changes[place](picture)
    if grays:
        picture = transforms.rgb_to_grayscale(picture, num_output_channels=3)
    return picture.permute(1, 2, 0).numpy()


class Featuriser(nn.Module):
    """Augments images, and turns live batches into `EpisodeBatch`es with a frozen backbone.

    Args:
        extractor: The backbone.
        mid: Levels of the mid feature.
        high: Level of the prior mask.
        target_side: S, px.
        support_target: Whether the supports have targets, too.
        whole_support: Whether the high feature of the supports is read at every token, not at
            tokens of the object alone; else values at other tokens have no meaning.
    """

    def __init__(
        self,
        extractor: Extractor,
        mid: Sequence[str],
        high: str,
        target_side: int,
        support_target: bool = False,
        whole_support: bool = True,
    ) -> None:
        super().__init__()
        self.support_target = support_target
        is_apart = high not in mid and high == extractor.spec.deepest((*mid, high))
        self.whole_support = whole_support or not is_apart
        self.extractor, self.mid, self.high = extractor, tuple(mid), high
        self.target_side = target_side
        colour = torch.tensor(extractor.spec.padding).view(1, 3, 1, 1)
        self.outside: Tensor
        self.register_buffer("outside", colour.to(extractor.mean.device), persistent=False)

    @torch.no_grad()
    def forward(self, batch: LiveBatch) -> EpisodeBatch:
        """The batch on its own device, features in float32."""
        # 1. The foreground part and the labels of every token.
        count, pixels = len(batch.key), batch.masks.shape[-1]
        side, align = self.extractor.grid(pixels, pixels)[0], self.extractor.spec.align_corners
        weights = _on_device(cell_weights, side, pixels, align, device=batch.masks.device)[0]
        supports = batch.masks[:, 1:]

        def area(mask: Tensor) -> Tensor:
            return weights @ mask.to(weights.dtype) @ weights.T

        with torch.autocast(batch.masks.device.type, enabled=False):  # areas stay in float32
            inside = area(batch.masks != OUTSIDE) >= 0.5
            labelled = area(supports < OUTSIDE)
            valid = labelled >= 0.5
            part = (area(supports == 1) / labelled.clamp(min=0.5)).clamp(0, 1) * valid
        labels = self._pixels(supports, side, align)

        # 2. The features.
        read = None
        if not self.whole_support:
            of_object = (part > 0) | (labels[:, :, 0] == 1)
            read = torch.cat([torch.ones_like(inside[:, 0]), of_object.flatten(0, 1)])
        levels = self.extractor(self.augmented(batch), read)
        mid = torch.cat([levels[name] for name in self.mid], 1).float()
        high = levels[self.high].float()
        return EpisodeBatch(
            query_mid=mid[:count],
            query_high=high[:count],
            query_valid=inside[:, 0],
            support_mid=mid[count:].unflatten(0, supports.shape[:2]),
            support_high=high[count:].unflatten(0, supports.shape[:2]),
            support_valid=valid,
            support_mask=part,
            key=batch.key,
            target=self._target(batch.masks[:, 0], side, align),
            support_pixels=labels,
            support_target=self._target(supports.flatten(0, 1), side, align).unflatten(
                0, supports.shape[:2]
            )
            if self.support_target
            else None,
            query_classes=None
            if batch.classes is None
            else self._sampled(batch.classes, side, align),
            class_index=batch.class_index,
        )

    def augmented(self, batch: LiveBatch) -> Tensor:
        """The images as the backbone sees them, (B + B * K, 3, P, P) float32 in [0, 1].

        Queries come first, so that the features of queries and of supports need no copy.
        """
        images = _queries_first(batch.images)
        if batch.places is None:
            return images
        places, pixels = _queries_first(batch.places), batch.masks.shape[-1]
        with torch.autocast(images.device.type, enabled=False):
            return viewed(images, places, pixels, self.outside)

    @staticmethod
    def _pixels(masks: Tensor, side: int, align: bool) -> Tensor:
        """The labels of two pixels per token, (B, K, 2, h, w) uint8, from masks (B, K, P, P)."""
        size = masks.shape[-1]
        (index,) = _on_device(token_pixels, side, size, align, device=masks.device)
        pixels = masks[:, :, index[:, :, None], index[:, None]]
        return pixels.masked_fill(pixels == OUTSIDE, IGNORE)

    def _target(self, masks: Tensor, side: int, align: bool) -> Tensor:
        """Masks (B, P, P) at the pixels of the target, (B, S, S) int64."""
        target = self._sampled(masks, side, align)
        return target.masked_fill(target == OUTSIDE, IGNORE)

    def _sampled(self, maps: Tensor, side: int, align: bool) -> Tensor:
        """Maps (B, P, P) at the pixels of the target, (B, S, S) int64; 255 outside."""
        sizes = (self.target_side, side, side, maps.shape[-1], align)
        rows, inside = _on_device(target_index, *sizes, device=maps.device)
        target = maps[:, rows[:, None], rows].long()
        return target.masked_fill(~(inside[:, None] & inside), IGNORE)


def _queries_first(values: Tensor) -> Tensor:
    """(B, 1 + K, ...) values as (B + B * K, ...): of all queries, then of all supports."""
    return torch.cat([values[:, 0], values[:, 1:].flatten(0, 1)])


@lru_cache(maxsize=64)
def _on_device(
    compute: Callable[..., np.ndarray | tuple[np.ndarray, ...]],
    *arguments: int,
    device: torch.device,
) -> tuple[Tensor, ...]:
    """The arrays that a function of sizes alone computes, copied to a device once."""
    found = compute(*arguments)
    arrays = found if isinstance(found, tuple) else (found,)
    return tuple(torch.tensor(array, device=device) for array in arrays)
