"""Pictures of test episodes for the report: the best, the median and the worst of every class.

Shapes: E episodes, H W pixels.
"""

from pathlib import Path

import numpy as np
import torch
from PIL import Image

from umtfss.data.open import open_dataset
from umtfss.episodes.episode import EpisodeList
from umtfss.episodes.masks import GroundTruthMasks
from umtfss.evaluation.evaluate_run import EvaluationFiles, tested_episodes, tested_images
from umtfss.evaluation.results import load_result
from umtfss.figures.episode_pictures import EpisodePictures, data_uri, save_pictures
from umtfss.figures.overlay import PREDICTED, TRUE, overlay
from umtfss.figures.predicted import iou_of, predicted_masks
from umtfss.plan.jobs.picture_episodes import PictureEpisodes

PICTURE_SIDE = 240  # px, the longer side
RANKS = ("best", "median", "worst")


def picture_episodes(
    job: PictureEpisodes,
    files: EvaluationFiles,
    floor_files: EvaluationFiles,
    result: str | Path,
    path: str | Path,
    *,
    batch_size: int,
    device: torch.device,
) -> None:
    """Picture the best, the median and the worst episode of every class.

    Args:
        job: The evaluations of the run and of the floor.
        files: The files that the evaluation of the run reads.
        floor_files: The files that the evaluation of the floor reads.
        result: The result file of the run's evaluation, which ranks the episodes.
        path: The JSON file to write.
        batch_size: Episodes per forward pass.
        device: Where the models run.
    """
    folds, paths = load_result(result).folds, tested_episodes(job.run, files)
    images = tested_images(job.run, files, device)
    names = open_dataset(job.run.dataset).class_names
    masks = GroundTruthMasks(images)
    pictured = []
    for fold in job.run.folds:
        episodes = EpisodeList.load(paths[fold, 0])
        scores = folds[fold].seeds[0]
        iou = scores.intersection / np.maximum(scores.union, 1)
        ranked = ranked_rows(episodes.class_id, iou)
        rows = [row for row, _ in ranked]
        run_masks = predicted_masks(
            job.run, files, episodes, rows, batch_size=batch_size, device=device
        )
        floor_masks = predicted_masks(
            job.floor, floor_files, episodes, rows, batch_size=batch_size, device=device
        )
        for (row, rank), found, floor in zip(ranked, run_masks, floor_masks, strict=True):
            episode = episodes[row]
            support, class_id = episode.supports[0], episode.class_id
            query, truth = images.image(episode.query), masks.mask(episode.query, class_id)
            seen = overlay(images.image(support), masks.mask(support, class_id), TRUE)
            pictures = {
                "support": seen,
                "query, true mask": overlay(query, truth, TRUE),
                "training-free floor": overlay(query, floor.astype(np.uint8), PREDICTED),
                job.run.model: overlay(query, found.astype(np.uint8), PREDICTED),
            }
            pictured.append(
                EpisodePictures(
                    fold,
                    row,
                    names[class_id],
                    rank,
                    round(100 * iou_of(found, truth), 1),
                    round(100 * iou_of(floor, truth), 1),
                    {title: _coded(one) for title, one in pictures.items()},
                )
            )
    save_pictures(path, names, pictured)


def ranked_rows(class_id: np.ndarray, iou: np.ndarray) -> list[tuple[int, str]]:
    """The episodes to picture: row and rank, class by class; no row twice.

    Args:
        class_id: (E,) class of every episode.
        iou: (E,) IoU of every episode.
    """
    chosen = []
    for label in np.unique(class_id):
        rows = np.flatnonzero(class_id == label)
        order = rows[np.argsort(-iou[rows], kind="stable")].tolist()
        places = {0: RANKS[0], len(order) // 2: RANKS[1], len(order) - 1: RANKS[2]}
        chosen += [(order[place], rank) for place, rank in sorted(places.items())]
    return chosen


def _coded(picture: np.ndarray) -> str:
    """A picture, (H, W, 3) float in [0, 1], as a small data URI."""
    return data_uri(Image.fromarray((picture.clip(0, 1) * 255).astype(np.uint8)), PICTURE_SIDE)
