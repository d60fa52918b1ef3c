"""One evaluation of the plan: a run tested on a data set with K shots, every fold and seed."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from umtfss.backbones.facts import backbone_facts
from umtfss.clustering.pool_graph import load_pool_graph
from umtfss.data.dataset import Catalog, open_dataset
from umtfss.data.splits import novel_classes
from umtfss.episodes.episode import EpisodeList
from umtfss.episodes.loader import LabelledImages
from umtfss.evaluation.results import save_results
from umtfss.evaluation.run import TestImages, evaluate
from umtfss.features.store import FeatureStore
from umtfss.models import build_model
from umtfss.models.base import MetaLearner
from umtfss.models.propagation import LabelPropagation
from umtfss.plan import EvaluationSpec, Plan
from umtfss.provenance import digest_file, package_versions, read_manifest
from umtfss.runs import RunSpec
from umtfss.training.checkpoint import load_weights

if TYPE_CHECKING:
    from umtfss.backbones.extractor import Extractor
    from umtfss.episodes.live import LiveFeatures

LIVE_MEMORY_MB = 2048  # PASCAL-5i's test images at 29 x 29 tokens of 2 x 384 channels


def tested_model(plan: Plan, run: RunSpec) -> MetaLearner:
    """The run's model with its trained weights, if it has any."""
    features = plan.experiment.features.model
    facts = backbone_facts(features.backbone)
    model = build_model(
        run.model,
        plan.model_settings(run),
        sum(facts.channels[level] for level in features.mid),
    )
    if run.is_trained:
        load_weights(model, Path(plan.training_folder(run)))
    for graph in plan.pool_graphs(run):
        assert isinstance(model, LabelPropagation)
        model.load_pool(load_pool_graph(graph), plan.experiment.propagation)
    return model


def tested_images(plan: Plan, dataset: str, device: torch.device) -> TestImages:
    """Features and labels of the data set's test images, as the protocol wants them."""
    settings = plan.experiment.datasets[dataset]
    catalog = Catalog({dataset: open_dataset(dataset, settings, plan.dataset_root(dataset))})
    if plan.experiment.evaluation.protocol == "squash400":
        from umtfss.evaluation.squash import SquashedFeatures, SquashedImages  # as below

        squashed = SquashedFeatures(model_extractor(plan, device), catalog)
        return TestImages(SquashedImages(catalog), squashed, LIVE_MEMORY_MB)
    if plan.tests_live:
        return TestImages(catalog, live_features(plan, catalog, device))
    return TestImages(catalog, FeatureStore(plan.feature_manifests(plan.test_caches(dataset))))


def live_features(plan: Plan, catalog: LabelledImages, device: torch.device) -> "LiveFeatures":
    """The model's features of the catalog's images, computed when they are read."""
    from umtfss.episodes.live import LiveFeatures

    long_side = plan.experiment.features.model.long_side
    return LiveFeatures(model_extractor(plan, device), catalog, long_side)


def model_extractor(plan: Plan, device: torch.device) -> "Extractor":
    """The backbone whose features the model sees."""
    # Imported here: libraries that take a second to load, and only live features need.
    from umtfss.backbones.extractor import build_extractor

    features = plan.experiment.features.model
    weights = plan.experiment.features.weights.get(features.backbone)
    extractor = build_extractor(features.backbone, (*features.mid, features.high), weights)
    return extractor.to(device)


def evaluate_run(plan: Plan, spec: EvaluationSpec, device: torch.device, path: str | Path) -> None:
    """Test the run on every fold and seed, and write the counts to `path`."""
    experiment = plan.experiment
    features, settings = experiment.features.model, experiment.evaluation
    model = tested_model(plan, spec.run)
    images = tested_images(plan, spec.dataset, device)
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
                mid=features.mid,
                high=features.high,
                batch_size=settings.batch_size,
                device=device,
                amp=settings.amp,
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
            "graph": [digest_file(p) for p in inputs["graph"]],
            "weights": [read_manifest(p, "training")["digest"] for p in inputs["weights"]],
            "features": [read_manifest(p, "features")["digest"] for p in inputs["features"]],
            "episodes": {
                f"fold{fold}-seed{seed}": digest_file(file) for (fold, seed), file in files.items()
            },
            "versions": package_versions("umtfss", "torch", "numpy"),
        },
    )
