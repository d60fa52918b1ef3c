"""One evaluation of the plan: a run tested on a data set with K shots, every fold and seed."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from umtfss.common.digests import digest_file
from umtfss.common.manifests import package_versions, read_manifest
from umtfss.data.catalog import Catalog
from umtfss.data.image_source import ImageSource
from umtfss.data.open import open_dataset
from umtfss.data.splits import novel_classes
from umtfss.episodes.episode import EpisodeList
from umtfss.evaluation.images import EpisodeImages
from umtfss.evaluation.results import save_results
from umtfss.evaluation.scores import ScoringOptions, evaluate
from umtfss.experiment.features import ExtractedConfig
from umtfss.features.standard import Standardised
from umtfss.features.store import FeatureSource, FeatureStore
from umtfss.models.base import MetaLearner
from umtfss.models.build import build_model
from umtfss.plan.paths import EvaluationSpec
from umtfss.plan.plan import Plan
from umtfss.plan.run import RunSpec
from umtfss.pseudo_masks.superpixels import SuperpixelStore, felzenszwalb_superpixels
from umtfss.training.checkpoint import load_weights

if TYPE_CHECKING:
    from umtfss.backbones.extractor import Extractor


def trained_model(plan: Plan, run: RunSpec) -> MetaLearner:
    """The run's model with its trained weights, if it has any."""
    channels = plan.model_features(run).mid_channels
    model = build_model(run.model, plan.model_settings(run), channels)
    if run.is_trained:
        load_weights(model, Path(plan.training_folder(run)))
    return model


def tested_images(plan: Plan, run: RunSpec, dataset: str, device: torch.device) -> EpisodeImages:
    """The test images' labels, and their features as the run reads them."""
    raw_data = plan.experiment.raw_data_root
    catalog = Catalog({dataset: open_dataset(plan.source(dataset), raw_data)})
    read = SuperpixelStore(plan.test_superpixels(run, dataset)).read
    if plan.model_features(run).live is not None:
        features = live_features(plan, run, catalog, device)
        return EpisodeImages(catalog, features, read_superpixels=read)
    store = FeatureStore(plan.feature_manifests(plan.tested_caches(run, dataset)))
    features = _on_trained_scale(plan, run, store)
    return EpisodeImages(catalog, features, read_superpixels=read)


def live_superpixels(plan: Plan, catalog: ImageSource) -> Callable[[str], np.ndarray]:
    """Computes the superpixels of the catalog's images when they are read."""
    settings = plan.experiment.pseudo_masks
    return lambda image_id: felzenszwalb_superpixels(catalog.image(image_id), settings)


def live_features(
    plan: Plan, run: RunSpec, catalog: ImageSource, device: torch.device
) -> FeatureSource:
    """The features of the catalog's images that the run reads, computed when they are read.

    Raises:
        StoreError: They are diffused, and the map has not been made.
    """
    from umtfss.features.live import LiveFeatures

    name = plan.run_features(run)
    extracted = plan.extracted(name)
    extractor = live_extractor(extracted, device)
    features: FeatureSource = LiveFeatures(extractor, catalog, extracted.long_side)
    if plan.diffuses(run):
        from umtfss.features.diffusion import DiffusedFeatures, DiffusionMap  # loads faiss

        diffusion = DiffusionMap.load(plan.diffusion_map(name))
        features = DiffusedFeatures(features, diffusion)
    return _on_trained_scale(plan, run, features)


def _on_trained_scale(plan: Plan, run: RunSpec, features: FeatureSource) -> FeatureSource:
    """The features on the scale that the run was trained at, if it was trained."""
    if not run.is_trained:
        return features
    (manifest,) = plan.training_manifest(run)
    return Standardised(features, read_manifest(manifest, "training")["mid_scales"])


def live_extractor(features: ExtractedConfig, device: torch.device) -> "Extractor":
    """The backbone of features that are computed when they are read."""
    # Imported here: libraries that take a second to load, and only live features need.
    from umtfss.backbones.build import build_live_extractor

    return build_live_extractor(features).to(device)


def how_tested(plan: Plan, run: RunSpec, device: torch.device) -> ScoringOptions:
    """How the experiment tests a run."""
    features, model = plan.model_features(run), plan.model_settings(run)
    settings, levels = plan.experiment.evaluation, (features.mid, features.high)
    return ScoringOptions(*levels, settings.batch_size, device, settings.amp, model.superpixels)


def evaluate_run(plan: Plan, spec: EvaluationSpec, device: torch.device, path: str | Path) -> None:
    """Test the run on every fold and seed, and write the counts to `path`."""
    experiment = plan.experiment
    model = trained_model(plan, spec.run)
    images = tested_images(plan, spec.run, spec.dataset, device)
    files = {
        (fold, seed): plan.test_episodes(spec.dataset, fold, spec.shot, seed)
        for fold in spec.folds
        for seed in range(spec.seeds)
    }
    episodes = {key: EpisodeList.load(file) for key, file in files.items()}
    inputs, dataset = plan.evaluation_inputs(spec), experiment.datasets[spec.dataset]
    how = how_tested(plan, spec.run, device)

    scores = {
        fold: {
            seed: evaluate(model, episodes[fold, seed], images, how) for seed in range(spec.seeds)
        }
        for fold in spec.folds
    }
    classes: dict[int, Sequence[int]] = {
        fold: novel_classes(dataset.kind, fold) for fold in spec.folds
    }
    if dataset.rare_classes == "leave_out":  # what was drawn is what can be tested
        for fold in spec.folds:
            drawn = [episodes[fold, seed].class_id.tolist() for seed in range(spec.seeds)]
            classes[fold] = sorted(set().union(*drawn))
    weights = [read_manifest(path, "training") for path in inputs["weights"]]
    save_results(
        path,
        scores,
        classes=classes,
        facts={
            "run": spec.run.path,
            "dataset": spec.dataset,
            "shot": spec.shot,
            "classes_tested": {f"fold{fold}": len(tested) for fold, tested in classes.items()},
            "superpixels": [digest_file(p) for p in inputs["superpixels"]],
            "weights": [one["digest"] for one in weights],
            "collapsed": any(one["collapsed"] for one in weights),
            "features": [read_manifest(p, "features")["digest"] for p in inputs["features"]],
            "episodes": {
                f"fold{fold}-seed{seed}": digest_file(file) for (fold, seed), file in files.items()
            },
            "versions": package_versions("umtfss", "torch", "numpy"),
        },
    )
