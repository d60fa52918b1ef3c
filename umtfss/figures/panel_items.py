"""The episodes of the qualitative panel (the paper's Figure 3), predicted by a trained run.

Shapes: H W pixels.
"""

import torch

from umtfss.data.open import open_dataset
from umtfss.episodes.episode import EpisodeList
from umtfss.episodes.masks import GroundTruthMasks
from umtfss.evaluation.evaluate_run import (
    EvaluationFiles,
    scoring_options,
    tested_episodes,
    tested_images,
    tested_model,
)
from umtfss.evaluation.scores import predicted_scores
from umtfss.figures.panel import PanelItem
from umtfss.plan.jobs.evaluate_run import EvaluateRun

CLASSES_PER_FOLD = 2


def panel_items(
    job: EvaluateRun, files: EvaluationFiles, *, batch_size: int, device: torch.device
) -> list[PanelItem]:
    """The first 1-shot episode of the first two classes of every fold; none is picked by hand.

    Args:
        job: The evaluation whose predictions are drawn.
        files: The files that the evaluation reads.
        batch_size: Episodes per forward pass.
        device: Where the model runs.
    """
    model, images = tested_model(job, files), tested_images(job, files, device)
    options, paths = scoring_options(job, batch_size, device), tested_episodes(job, files)
    names = open_dataset(job.dataset).class_names
    masks = GroundTruthMasks(images)
    items = []
    for fold in job.folds:
        episodes = EpisodeList.load(paths[fold, 0])
        classes = episodes.class_id.tolist()
        rows = [classes.index(class_id) for class_id in sorted(set(classes))[:CLASSES_PER_FOLD]]
        scores = predicted_scores(model, episodes, images, options, rows)
        for row, score in zip(rows, scores, strict=True):
            episode = episodes[row]
            class_id, support = episode.class_id, episode.supports[0]
            items.append(
                PanelItem(
                    f"{names[class_id]} (fold {fold})",
                    images.image(support),
                    masks.mask(support, class_id),
                    images.image(episode.query),
                    masks.mask(episode.query, class_id),
                    score > 0,
                )
            )
    return items
