"""Testing a model on episodes.

Shapes: B batch, H W original pixels of the query, h w its un-padded grid, g g padded grid.

A thread reads the features and labels of the next batches while the model runs on the current one.
On a GPU features are read once and stay there, while they fit.
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
    """The options of testing episodes.

    Attributes:
        mid: Levels of the mid feature.
        high: Level of the prior mask.
        batch_size: Episodes per forward pass.
        device: Device that the model is moved to.
        amp: Mixed precision.
        refine: Refinement of the score.
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
    """Test a model and return the counts of every episode.

    Args:
        model: A `MetaLearner`, which is left in evaluation mode.
        episodes: Test episodes.
        images: Features and labels of the episodes' images.
        options: Batch size, precision and refinement.
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
        model: A `MetaLearner`, which is left in evaluation mode.
        episodes: Episodes.
        images: Features of the episodes' images, and labels of the supports.
        options: Batch size, precision and refinement.
        rows: Rows of the episodes to predict, in order; None: all.
    """
    rows = range(len(episodes)) if rows is None else rows
    features, masks = images.on(options.device), GroundTruthMasks(images)
    dataset = CachedEpisodes(episodes, features, options.mid, options.high, masks)
    model, align = model.to(options.device).eval(), images.geometry.align_corners

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
    """The results of `read` for every batch, in order; a thread reads a few batches in advance."""
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
    """The foreground logit minus the background logit, (B, g, g) float32 on the CPU.

    As upsampling is linear, the sign of the upsampled difference is the argmax of the upsampled
    logits.
    """
    with autocast(device, amp):
        logits = model(batch.to(device)).float()
    return (logits[:, 1] - logits[:, 0]).cpu()


def _at_original_size(
    difference: Tensor, grid: Sequence[int], size: tuple[int, ...], align_corners: bool
) -> np.ndarray:
    """The (g, g) logit differences upsampled to the image's size, (H, W) float32."""
    h, w = grid
    upsampled = nnf.interpolate(
        difference[None, None, :h, :w], size, mode="bilinear", align_corners=align_corners
    )
    return upsampled[0, 0].numpy()
