"""One evaluation of the plan: a run tested on a data set with K shots, every fold and seed."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from umtfss.data.dataset import Catalog, open_dataset
from umtfss.data.splits import novel_classes
from umtfss.episodes.episode import EpisodeList
from umtfss.episodes.loader import LabelledImages
from umtfss.evaluation.results import save_results
from umtfss.evaluation.run import TestImages, evaluate
from umtfss.features.store import FeatureSource, FeatureStore
from umtfss.models import build_model
from umtfss.models.base import MetaLearner
from umtfss.paths import EvaluationSpec
from umtfss.plan import Plan
from umtfss.provenance import digest_file, package_versions, read_manifest
from umtfss.pseudo_masks.superpixels import SuperpixelStore, felzenszwalb_superpixels
from umtfss.runs import RunSpec
from umtfss.training.checkpoint import load_weights

if TYPE_CHECKING:
    from umtfss.backbones.extractor import Extractor

LIVE_MEMORY_MB = 2048  # PASCAL-5i's test images at 29 x 29 tokens of 2 x 384 channels


def tested_model(plan: Plan, run: RunSpec) -> MetaLearner:
    """The run's model with its trained weights, if it has any."""
    model = build_model(run.model, plan.model_settings(run), plan.mid_channels(run))
    if run.is_trained:
        load_weights(model, Path(plan.training_folder(run)))
    return model


def tested_images(plan: Plan, run: RunSpec, dataset: str, device: torch.device) -> TestImages:
    """The test images' labels, and their features as the run reads them."""
    settings = plan.experiment.datasets[dataset]
    catalog = Catalog({dataset: open_dataset(dataset, settings, plan.dataset_root(dataset))})
    if plan.experiment.evaluation.protocol == "squash400":
        from umtfss.evaluation.squash import SquashedFeatures, SquashedImages  # as below

        squashed = SquashedFeatures(model_extractor(plan, device), catalog)
        features, small = _diffused(plan, run, squashed), SquashedImages(catalog)
        return TestImages(small, features, LIVE_MEMORY_MB, live_superpixels(plan, small))
    read = SuperpixelStore(plan.test_superpixels(run, dataset)).read
    if plan.tests_live:
        live = live_features(plan, run, catalog, device)
        return TestImages(catalog, live, read_superpixels=read)
    caches = plan.test_caches(dataset, plan.diffuses(run))
    store = FeatureStore(plan.feature_manifests(caches))
    return TestImages(catalog, store, read_superpixels=read)


def live_superpixels(plan: Plan, catalog: LabelledImages) -> Callable[[str], np.ndarray]:
    """Computes the superpixels of the catalog's images when they are read."""
    settings = plan.experiment.pseudo_masks
    return lambda image_id: felzenszwalb_superpixels(catalog.image(image_id), settings)


def live_features(
    plan: Plan, run: RunSpec, catalog: LabelledImages, device: torch.device
) -> FeatureSource:
    """The features of the catalog's images that the run reads, computed when they are read.

    Raises:
        StoreError: They are diffused, and the map has not been made.
    """
    from umtfss.episodes.live import LiveFeatures

    long_side = plan.experiment.features.model.long_side
    return _diffused(plan, run, LiveFeatures(model_extractor(plan, device), catalog, long_side))


def _diffused(plan: Plan, run: RunSpec, features: FeatureSource) -> FeatureSource:
    """The features, diffused if the run sees them so."""
    if not plan.diffuses(run):
        return features
    from umtfss.features.diffusion import DiffusedFeatures, DiffusionMap  # loads faiss

    return DiffusedFeatures(features, DiffusionMap.load(plan.diffusion_map))


def model_extractor(plan: Plan, device: torch.device) -> "Extractor":
    """The backbone whose features the model sees."""
    # Imported here: libraries that take a second to load, and only live features need.
    from umtfss.backbones.extractor import build_model_extractor

    return build_model_extractor(plan.experiment.features).to(device)


def evaluate_run(plan: Plan, spec: EvaluationSpec, device: torch.device, path: str | Path) -> None:
    """Test the run on every fold and seed, and write the counts to `path`."""
    experiment = plan.experiment
    settings, (mid, high) = experiment.evaluation, plan.model_levels(spec.run)
    model = tested_model(plan, spec.run)
    images = tested_images(plan, spec.run, spec.dataset, device)
    files = {
        (fold, seed): plan.test_episodes(spec.dataset, fold, spec.shot, seed)
        for fold in spec.folds
        for seed in range(spec.seeds)
    }
    episodes = {key: EpisodeList.load(file) for key, file in files.items()}
    scores = {
        fold: {
            seed: evaluate(
                model,
                episodes[fold, seed],
                images,
                mid=mid,
                high=high,
                batch_size=settings.batch_size,
                device=device,
                amp=settings.amp,
                superpixels=plan.model_settings(spec.run).superpixels,
            )
            for seed in range(spec.seeds)
        }
        for fold in spec.folds
    }
    inputs, dataset = plan.evaluation_inputs(spec), experiment.datasets[spec.dataset]
    classes: dict[int, Sequence[int]] = {
        fold: novel_classes(dataset.kind, fold) for fold in spec.folds
    }
    if dataset.rare_classes == "leave_out":  # what was drawn is what can be tested
        for fold in spec.folds:
            drawn = [episodes[fold, seed].class_id.tolist() for seed in range(spec.seeds)]
            classes[fold] = sorted(set().union(*drawn))
    save_results(
        path,
        scores,
        classes=classes,
        facts={
            "run": spec.run.path,
            "dataset": spec.dataset,
            "shot": spec.shot,
            "classes_tested": {f"fold{fold}": len(tested) for fold, tested in classes.items()},
            "protocol": settings.protocol,
            "map": [digest_file(p) for p in inputs["map"]],
            "superpixels": [digest_file(p) for p in inputs["superpixels"]],
            "weights": [read_manifest(p, "training")["digest"] for p in inputs["weights"]],
            "features": [read_manifest(p, "features")["digest"] for p in inputs["features"]],
            "episodes": {
                f"fold{fold}-seed{seed}": digest_file(file) for (fold, seed), file in files.items()
            },
            "versions": package_versions("umtfss", "torch", "numpy"),
        },
    )
