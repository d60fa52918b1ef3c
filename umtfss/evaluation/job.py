"""One evaluation of the plan: a run tested on a data set with K shots, every fold and seed."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from umtfss.data.dataset import Catalog, open_dataset
from umtfss.data.splits import novel_classes
from umtfss.episodes.episode import EpisodeList
from umtfss.episodes.loader import ImageSource
from umtfss.evaluation.results import save_results
from umtfss.evaluation.run import HowTested, TestImages, evaluate
from umtfss.features.standard import Standardised
from umtfss.features.store import FeatureSource
from umtfss.features.tuned import Beside, TunedFeatures, read_beside
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


def trained_model(plan: Plan, run: RunSpec) -> MetaLearner:
    """The run's model with its trained weights, if it has any."""
    model = build_model(
        run.model,
        plan.model_settings(run),
        plan.mid_channels(run),
        features=plan.experiment.features,
    )
    if run.is_trained:
        load_weights(model, Path(plan.training_folder(run)))
    return model


def tested_model(plan: Plan, run: RunSpec) -> MetaLearner:
    """What predicts: the run's model, or the matcher on features of the backbone that it tuned."""
    return trained_model(
        plan, replace(run, model="prototype", tasks="none") if run.is_tuned else run
    )


def tested_images(plan: Plan, run: RunSpec, dataset: str, device: torch.device) -> TestImages:
    """The test images' labels, and their features as the run reads them."""
    settings = plan.experiment.datasets[dataset]
    catalog = Catalog({dataset: open_dataset(dataset, settings, plan.dataset_root(dataset))})
    read = SuperpixelStore(plan.test_superpixels(run, dataset)).read
    if not plan.experiment.features.model.cache:
        features = live_features(plan, run, catalog, device)
        return TestImages(catalog, features, read_superpixels=read)
    caches = plan.tested_caches(run, dataset)
    features = _as_tested(plan, run, read_beside([*map(plan.feature_manifests, caches)]), device)
    return TestImages(catalog, features, read_superpixels=read)


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
    from umtfss.episodes.live import LiveFeatures

    long_side = plan.experiment.features.model.long_side
    extractor = model_extractor(plan, run, device)
    features: FeatureSource = LiveFeatures(extractor, catalog, long_side)
    if plan.diffuses(run):
        from umtfss.features.diffusion import DiffusedFeatures, DiffusionMap  # loads faiss

        diffusion = DiffusionMap.load(plan.diffusion_map)
        features = Beside([DiffusedFeatures(features, diffusion), features])
    return _as_tested(plan, run, features, device)


def _as_tested(
    plan: Plan, run: RunSpec, features: FeatureSource, device: torch.device
) -> FeatureSource:
    """The features as the run is tested on them: tuned, or on the scale of its training."""
    if run.is_tuned:
        from umtfss.models.tuned import TunedBackbone  # loads the backbones

        model = trained_model(plan, run).to(device).eval()
        assert isinstance(model, TunedBackbone)
        mid, high = plan.tested_levels(run), plan.experiment.features.tuned_level
        return TunedFeatures(features, mid, high, model.tokens, device)
    if run.is_trained:
        (manifest,) = plan.training_manifest(run)
        return Standardised(features, read_manifest(manifest, "training")["mid_scales"])
    return features


def model_extractor(plan: Plan, run: RunSpec, device: torch.device) -> "Extractor":
    """The backbone whose features the run's model sees, and the stem that it tunes, if it does."""
    # Imported here: libraries that take a second to load, and only live features need.
    from umtfss.backbones.extractor import build_model_extractor

    more = [plan.stem_level] if run.is_tuned else []
    return build_model_extractor(plan.experiment.features, more).to(device)


def how_tested(plan: Plan, run: RunSpec, device: torch.device) -> HowTested:
    """How the experiment tests a run."""
    mid, high = plan.model_levels(run)
    model, settings = plan.model_settings(run), plan.experiment.evaluation
    return HowTested(mid, high, settings.batch_size, device, settings.amp, model.superpixels)


def evaluate_run(plan: Plan, spec: EvaluationSpec, device: torch.device, path: str | Path) -> None:
    """Test the run on every fold and seed, and write the counts to `path`."""
    experiment = plan.experiment
    model = tested_model(plan, spec.run)
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
