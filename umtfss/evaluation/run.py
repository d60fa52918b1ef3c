"""Testing a model on episodes (protocol section 6).

Shapes: B batch, H W original pixels of the query, h w its un-padded grid, g g padded grid.

A thread reads features and labels of the next batches while the model works on this one.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from itertools import islice
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as nnf
from tqdm import tqdm

from umtfss.episodes.batch import EpisodeBatch
from umtfss.episodes.episode import EpisodeList
from umtfss.episodes.loader import (
    CachedEpisodes,
    GroundTruthMasks,
    LabelledImages,
    collate,
)
from umtfss.evaluation.miou import EpisodeScores, SegmentationScore
from umtfss.features.store import FeatureSource
from umtfss.pseudo_masks.superpixels import blend_means

BATCHES_AHEAD = 2
# and of every query the label, (H, W) uint8, and the superpixels, if they are asked for
ReadBatch = tuple[EpisodeBatch, list[tuple[np.ndarray, np.ndarray | None]]]


class TestImages:
    """Features and labels of test images, each read once for as long as it fits memory.

    Make one and test every fold and seed with it. It serves as feature source and as catalog.

    Args:
        catalog: Labels by qualified image id.
        store: Features by qualified image id: a `FeatureStore` or `LiveFeatures`.
        memory_mb: What is kept, the most recently used.
        read_superpixels: Gives the superpixels of an image, (H, W) int; only for models that ask.
    """

    __test__ = False  # not a test class, whatever its name

    def __init__(
        self,
        catalog: LabelledImages,
        store: FeatureSource,
        memory_mb: int = 1536,
        read_superpixels: Callable[[str], np.ndarray] | None = None,
    ) -> None:
        self.catalog, self.store, self._read_superpixels = catalog, store, read_superpixels
        self.channels, self.long_side = store.channels, store.long_side
        self.stride, self.multiple = store.stride, store.multiple
        self.align_corners = store.align_corners
        self._kept: OrderedDict[tuple[str, str], np.ndarray] = OrderedDict()
        self._room = memory_mb * 2**20

    def grid(self, image_id: str) -> tuple[int, int]:
        """The image's un-padded grid (h, w)."""
        return self.store.grid(image_id)

    def image_size(self, image_id: str) -> tuple[int, int]:
        """The image's original (H, W), px."""
        return self.store.image_size(image_id)

    def read(self, image_id: str, level: str) -> np.ndarray:
        """One level of one image, (h, w, C) float16."""
        return self._get((image_id, level), lambda: self.store.read(image_id, level))

    def image(self, qualified: str) -> np.ndarray:
        """The image, (H, W, 3) uint8 RGB; not kept."""
        return self.catalog.image(qualified)

    def mask(self, qualified: str) -> np.ndarray:
        """The class of every pixel, (H, W) uint8."""
        return self._get((qualified, ""), lambda: self.catalog.mask(qualified))

    def superpixels(self, qualified: str) -> np.ndarray:
        """The superpixel of every pixel, (H, W) int."""
        read = self._read_superpixels
        assert read is not None  # whoever makes the images knows the model
        return self._get((qualified, "superpixels"), lambda: read(qualified))

    def _get(self, key: tuple[str, str], load: Callable[[], np.ndarray]) -> np.ndarray:
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key]
        value = load()
        self._kept[key] = value
        self._room -= value.nbytes
        while self._room < 0:
            self._room += self._kept.popitem(last=False)[1].nbytes
        return value


def evaluate(
    model: torch.nn.Module,
    episodes: EpisodeList,
    images: TestImages,
    *,
    mid: Sequence[str],
    high: str,
    batch_size: int,
    device: torch.device | str = "cpu",
    amp: Literal["off", "bf16", "fp16"] = "off",
    superpixels: float = 0.0,
    progress: bool = True,
) -> EpisodeScores:
    """The counts of every episode.

    Args:
        model: A `MetaLearner`; it is left in evaluation mode.
        episodes: Test episodes.
        images: Features and labels of their images.
        mid: Levels of the mid feature.
        high: Level of the prior mask.
        batch_size: Episodes per forward pass.
        device: Where the model runs; it is moved there.
        amp: Mixed precision.
        superpixels: Part of the score that is its mean over each superpixel of the query.
        progress: Whether to show a bar.
    """
    masks = GroundTruthMasks(images)
    dataset = CachedEpisodes(episodes, images, mid, high, masks)
    score = SegmentationScore(sorted(set(episodes.class_id.tolist())))

    def read(start: int) -> ReadBatch:
        rows = range(start, min(start + batch_size, len(episodes)))
        queries = [episodes[row] for row in rows]
        seen = [
            (
                masks.mask(one.query, one.class_id),
                images.superpixels(one.query) if superpixels else None,
            )
            for one in queries
        ]
        return collate([dataset[row] for row in rows]), seen

    starts = range(0, len(episodes), batch_size)
    model = model.to(device).eval()
    with tqdm(total=len(episodes), unit="episode", disable=not progress) as bar:
        for start, (batch, seen) in zip(starts, _ahead(read, starts), strict=True):
            difference = _foreground_minus_background(model, batch, device, amp)
            for place, (label, regions) in enumerate(seen):
                query = episodes[start + place]
                grid, align = images.grid(query.query), images.align_corners
                found = _at_original_size(difference[place], grid, label.shape, align)
                if regions is not None:
                    found = blend_means(found, regions, superpixels)
                score.update(found > 0, label, query.class_id)
            bar.update(len(seen))
    return score.scores


def predict_episode(
    model: torch.nn.Module,
    episodes: EpisodeList,
    index: int,
    images: TestImages,
    *,
    mid: Sequence[str],
    high: str,
    device: torch.device | str = "cpu",
    superpixels: float = 0.0,
) -> np.ndarray:
    """The predicted mask of one episode's query, (H, W) bool at its original size."""
    dataset = CachedEpisodes(episodes, images, mid, high, GroundTruthMasks(images))
    model = model.to(device).eval()
    difference = _foreground_minus_background(model, collate([dataset[index]]), device, "off")
    query = episodes[index].query
    size = images.image_size(query)
    found = _at_original_size(difference[0], images.grid(query), size, images.align_corners)
    if superpixels:
        found = blend_means(found, images.superpixels(query), superpixels)
    return found > 0


def _ahead(read: Callable[[int], ReadBatch], starts: Sequence[int]) -> Iterator[ReadBatch]:
    """`read` of every start, in order, read by a thread a few ahead of their use."""
    with ThreadPoolExecutor(1) as thread:
        todo = iter(starts)
        waiting = [thread.submit(read, start) for start in islice(todo, BATCHES_AHEAD)]
        while waiting:
            ready = waiting.pop(0).result()
            waiting += [thread.submit(read, start) for start in islice(todo, 1)]
            yield ready


@torch.inference_mode()
def _foreground_minus_background(
    model: torch.nn.Module, batch: EpisodeBatch, device: torch.device | str, amp: str
) -> Tensor:
    """The difference of the logits, (B, g, g) float32 on the CPU.

    Upsampling is linear: the difference's sign at a pixel is the argmax of the upsampled logits.
    """
    context: AbstractContextManager = nullcontext()
    if amp != "off":
        dtype = torch.bfloat16 if amp == "bf16" else torch.float16
        context = torch.autocast(torch.device(device).type, dtype)
    with context:
        logits = model(batch.to(device)).float()
    return (logits[:, 1] - logits[:, 0]).cpu()


def _at_original_size(
    difference: Tensor, grid: tuple[int, int], size: tuple[int, ...], align_corners: bool
) -> np.ndarray:
    """The (g, g) logit differences at the image's size, (H, W) float32."""
    h, w = grid
    upsampled = nnf.interpolate(
        difference[None, None, :h, :w], size, mode="bilinear", align_corners=align_corners
    )
    return upsampled[0, 0].numpy()
