"""Predicted masks of test episodes, to be drawn.

Shapes: H W pixels.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import torch

from umtfss.episodes.episode import EpisodeList
from umtfss.episodes.overlap import foreground_overlap
from umtfss.evaluation.evaluate_run import (
    EvaluationFiles,
    scoring_options,
    tested_images,
    tested_model,
)
from umtfss.evaluation.scores import predicted_scores
from umtfss.plan.jobs.evaluate_run import EvaluateRun


def predicted_masks(
    job: EvaluateRun,
    files: EvaluationFiles,
    episodes: EpisodeList,
    rows: Sequence[int],
    *,
    batch_size: int,
    device: torch.device,
) -> Iterator[np.ndarray]:
    """The predicted masks of some episodes, (H, W) bool each.

    Args:
        job: The evaluation of the run.
        files: The files that the evaluation reads.
        episodes: Test episodes of one fold and seed.
        rows: Numbers of the episodes.
        batch_size: Episodes per forward pass.
        device: Where the model runs.
    """
    model, images = tested_model(job, files), tested_images(job, files, device)
    options = scoring_options(job, batch_size, device)
    return (score > 0 for score in predicted_scores(model, episodes, images, options, rows))


def iou_of(mask: np.ndarray, truth: np.ndarray) -> float:
    """IoU of a mask, label 255 of the truth ignored; 0 without true and predicted foreground."""
    intersection, union = foreground_overlap(mask, truth)
    return float(intersection / max(1, union))
