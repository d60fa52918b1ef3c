"""The episodes of the qualitative panel (the paper's Figure 3), predicted by a trained run.

Shapes: H W pixels.
"""

import torch

from umtfss.data.dataset import open_dataset
from umtfss.episodes.episode import EpisodeList
from umtfss.episodes.loader import GroundTruthMasks
from umtfss.evaluation.job import tested_images, tested_model
from umtfss.evaluation.run import predict_episode
from umtfss.plan import Plan
from umtfss.tables.figures import PanelItem

CLASSES_PER_FOLD = 2


def panel_items(plan: Plan, device: torch.device) -> list[PanelItem]:
    """The first 1-shot episode of the first two classes of every fold: nothing is picked by hand.

    Args:
        plan: The plan; `plan.panel` names the run.
        device: Where the model runs.
    """
    spec = plan.panel
    mid, high = plan.model_levels(spec.run)
    model = tested_model(plan, spec.run)
    images = tested_images(plan, spec.run, spec.dataset, device)
    root, settings = plan.dataset_root(spec.dataset), plan.experiment.datasets[spec.dataset]
    names = open_dataset(spec.dataset, settings, root).class_names
    masks = GroundTruthMasks(images)
    items = []
    for fold in spec.folds:
        episodes = EpisodeList.load(plan.test_episodes(spec.dataset, fold, spec.shot, 0))
        for class_id in sorted(set(episodes.class_id.tolist()))[:CLASSES_PER_FOLD]:
            episode = episodes[episodes.class_id.tolist().index(class_id)]
            predicted = predict_episode(
                model,
                episodes,
                episode.index,
                images,
                mid=mid,
                high=high,
                device=device,
                superpixels=plan.model_settings(spec.run).superpixels,
            )
            support = episode.supports[0]
            items.append(
                PanelItem(
                    f"{names[class_id]} (fold {fold})",
                    images.image(support),
                    masks.mask(support, class_id),
                    images.image(episode.query),
                    masks.mask(episode.query, class_id),
                    predicted,
                )
            )
    return items
