"""The episodes of the qualitative panel (the paper's Figure 3), predicted by a trained run.

Shapes: H W pixels.
"""

import torch

from umtfss.data.open import open_dataset
from umtfss.episodes.episode import EpisodeList
from umtfss.episodes.masks import GroundTruthMasks
from umtfss.evaluation.evaluate_run import how_tested, tested_images, trained_model
from umtfss.evaluation.scores import predicted_scores
from umtfss.figures.panel import PanelItem
from umtfss.plan.plan import Plan

CLASSES_PER_FOLD = 2


def panel_items(plan: Plan, device: torch.device) -> list[PanelItem]:
    """The first 1-shot episode of the first two classes of every fold: nothing is picked by hand.

    Args:
        plan: The plan; `plan.panel` names the run.
        device: Where the model runs.
    """
    spec = plan.panel
    model, how = trained_model(plan, spec.run), how_tested(plan, spec.run, device)
    images = tested_images(plan, spec.run, spec.dataset, device)
    source = plan.source(spec.dataset)
    names = open_dataset(source, plan.experiment.raw_data_root).class_names
    masks = GroundTruthMasks(images)
    items = []
    for fold in spec.folds:
        episodes = EpisodeList.load(plan.test_episodes(spec.dataset, fold, spec.shot, 0))
        classes = episodes.class_id.tolist()
        rows = [classes.index(class_id) for class_id in sorted(set(classes))[:CLASSES_PER_FOLD]]
        scores = predicted_scores(model, episodes, images, how, rows)
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
