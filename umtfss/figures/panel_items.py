"""The episodes of the panel (the paper's Figure 3), predicted by the floor and by a run.

Shapes: H W pixels.
"""

import torch

from umtfss.data.open import open_dataset
from umtfss.episodes.episode import EpisodeList
from umtfss.episodes.masks import GroundTruthMasks
from umtfss.evaluation.evaluate_run import EvaluationFiles, tested_episodes, tested_images
from umtfss.figures.panel import PanelItem
from umtfss.figures.predicted import predicted_masks
from umtfss.plan.jobs.draw_qualitative_panel import DrawQualitativePanel

CLASSES_PER_FOLD = 2


def panel_items(
    job: DrawQualitativePanel,
    files: EvaluationFiles,
    floor_files: EvaluationFiles,
    *,
    batch_size: int,
    device: torch.device,
) -> list[PanelItem]:
    """The first 1-shot episode of the first two classes of every fold; none is picked by hand.

    Args:
        job: The evaluations of the run and of the floor.
        files: The files that the evaluation of the run reads.
        floor_files: The files that the evaluation of the floor reads.
        batch_size: Episodes per forward pass.
        device: Where the model runs.
    """
    paths, images = tested_episodes(job.run, files), tested_images(job.run, files, device)
    names = open_dataset(job.run.dataset).class_names
    masks = GroundTruthMasks(images)
    items = []
    for fold in job.run.folds:
        episodes = EpisodeList.load(paths[fold, 0])
        classes = episodes.class_id.tolist()
        rows = [classes.index(class_id) for class_id in sorted(set(classes))[:CLASSES_PER_FOLD]]
        floor_masks, run_masks = (
            predicted_masks(one, own, episodes, rows, batch_size=batch_size, device=device)
            for one, own in ((job.floor, floor_files), (job.run, files))
        )
        for row, floor, found in zip(rows, floor_masks, run_masks, strict=True):
            episode = episodes[row]
            class_id, support = episode.class_id, episode.supports[0]
            items.append(
                PanelItem(
                    f"{names[class_id]} (fold {fold})",
                    images.image(support),
                    masks.mask(support, class_id),
                    images.image(episode.query),
                    masks.mask(episode.query, class_id),
                    floor,
                    found,
                )
            )
    return items
