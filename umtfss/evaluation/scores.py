"""Testing a model on episodes (protocol section 6).

Shapes: B batch, H W original pixels of the query, h w its un-padded grid, g g padded grid.

A thread reads features and labels of the next batches while the model works on this one.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as nnf
from tqdm import tqdm

from umtfss.common.device import autocast
from umtfss.episodes.batch import EpisodeBatch
from umtfss.episodes.cached import CachedEpisodes, collate
from umtfss.episodes.episode import EpisodeList
from umtfss.episodes.masks import GroundTruthMasks
from umtfss.evaluation.images import EpisodeImages, Read
from umtfss.evaluation.miou import EpisodeScores, SegmentationScore
from umtfss.evaluation.refine import refine
from umtfss.experiment.evaluation import RefineConfig

BATCHES_AHEAD = 2


@dataclass(frozen=True)
class ScoringOptions:
    """How episodes are tested.

    Attributes:
        mid: Levels of the mid feature.
        high: Level of the prior mask.
        batch_size: Episodes per forward pass.
        device: Where the model runs; it is moved there.
        amp: Mixed precision.
        refine: What is done to the score.
    """

    mid: Sequence[str]
    high: str
    batch_size: int = 1
    device: torch.device | str = "cpu"
    amp: Literal["off", "bf16", "fp16"] = "off"
    refine: RefineConfig = field(default_factory=RefineConfig)


def evaluate(
    model: torch.nn.Module,
    episodes: EpisodeList,
    images: EpisodeImages,
    options: ScoringOptions,
    progress: bool = True,
) -> EpisodeScores:
    """The counts of every episode.

    Args:
        model: A `MetaLearner`; it is left in evaluation mode.
        episodes: Test episodes.
        images: Features and labels of their images.
        options: Batches, precision and what is done to the score.
        progress: Whether to show a bar.
    """
    masks = GroundTruthMasks(images)
    score = SegmentationScore(sorted(set(episodes.class_id.tolist())))
    found = predicted_scores(model, episodes, images, options)
    bar = tqdm(found, total=len(episodes), unit="episode", disable=not progress)
    for episode, predicted in zip(episodes, bar, strict=True):
        label = masks.mask(episode.query, episode.class_id)
        score.update(predicted > 0, label, episode.class_id)
    return score.scores


def predicted_scores(
    model: torch.nn.Module,
    episodes: EpisodeList,
    images: EpisodeImages,
    options: ScoringOptions,
    rows: Sequence[int] | None = None,
) -> Iterator[np.ndarray]:
    """The scores of queries, (H, W) float32 each: positive is foreground.

    Args:
        model: As of `evaluate`, like all but the last.
        episodes: Episodes.
        images: Features of their images, and labels of the supports.
        options: Batches, precision and what is done to the score.
        rows: Which episodes, in this order; none: all.
    """
    rows = range(len(episodes)) if rows is None else rows
    dataset = CachedEpisodes(episodes, images, options.mid, options.high, GroundTruthMasks(images))
    model, align = model.to(options.device).eval(), images.align_corners

    def read(batch: Sequence[int]) -> EpisodeBatch:
        return collate([dataset[row] for row in batch])

    starts = range(0, len(rows), options.batch_size)
    batches = [rows[start : start + options.batch_size] for start in starts]
    for batch, inputs in zip(batches, _ahead(read, batches), strict=True):
        differences = _foreground_minus_background(model, inputs, options.device, options.amp)
        for row, difference in zip(batch, differences, strict=True):
            query = episodes[row].query
            score = _at_original_size(
                difference, images.grid(query), images.image_size(query), align
            )
            yield refine(score, query, images, options.refine)


def _ahead(
    read: Callable[[Sequence[int]], Read], batches: Iterable[Sequence[int]]
) -> Iterator[Read]:
    """`read` of every batch, in order, read by a thread a few ahead of their use."""
    with ThreadPoolExecutor(1) as thread:
        todo = iter(batches)
        waiting = [thread.submit(read, batch) for batch in islice(todo, BATCHES_AHEAD)]
        while waiting:
            ready = waiting.pop(0).result()
            waiting += [thread.submit(read, batch) for batch in islice(todo, 1)]
            yield ready


@torch.inference_mode()
def _foreground_minus_background(
    model: torch.nn.Module, batch: EpisodeBatch, device: torch.device | str, amp: str
) -> Tensor:
    """The difference of the logits, (B, g, g) float32 on the CPU.

    Upsampling is linear: the difference's sign at a pixel is the argmax of the upsampled logits.
    """
    with autocast(device, amp):
        logits = model(batch.to(device)).float()
    return (logits[:, 1] - logits[:, 0]).cpu()


def _at_original_size(
    difference: Tensor, grid: Sequence[int], size: tuple[int, ...], align_corners: bool
) -> np.ndarray:
    """The (g, g) logit differences at the image's size, (H, W) float32."""
    h, w = grid
    upsampled = nnf.interpolate(
        difference[None, None, :h, :w], size, mode="bilinear", align_corners=align_corners
    )
    return upsampled[0, 0].numpy()
