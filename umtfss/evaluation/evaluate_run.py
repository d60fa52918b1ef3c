"""One evaluation: a run tested on a data set with K shots, on every fold and seed."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import torch

from umtfss.common.manifests import package_versions, read_manifest
from umtfss.data.catalog import Catalog
from umtfss.data.open import open_dataset
from umtfss.episodes.episode import KIND as EPISODES
from umtfss.episodes.episode import EpisodeList
from umtfss.evaluation.images import EpisodeImages
from umtfss.evaluation.results import save_results
from umtfss.evaluation.scores import ScoringOptions, evaluate
from umtfss.evaluation.trained import live_features, on_trained_scale, trained_model
from umtfss.features.store import FeatureSource, FeatureStore
from umtfss.models.base import MetaLearner
from umtfss.plan.jobs.evaluate_run import EvaluateRun
from umtfss.pseudo_masks.superpixels import KIND as SUPERPIXELS
from umtfss.pseudo_masks.superpixels import SuperpixelStore


@dataclass(frozen=True)
class EvaluationFiles:
    """The files that an evaluation reads.

    Attributes:
        weights: Manifest of the weights, which lie beside it; empty: training-free.
        features: Manifests of the features; empty if the features are live.
        superpixels: Manifests of the test images' superpixels; empty if no step reads them.
        episodes: Manifests of the episodes of every fold and, within a fold, of every seed.
    """

    weights: Sequence[str]
    features: Sequence[str]
    superpixels: Sequence[str]
    episodes: Sequence[str]

    @property
    def manifest(self) -> str | None:
        """The manifest of the weights; None: training-free."""
        return next(iter(self.weights), None)


def tested_model(job: EvaluateRun, files: EvaluationFiles) -> MetaLearner:
    """The run's model with its weights."""
    return trained_model(job.model, job.settings, job.features, files.manifest)


def tested_images(job: EvaluateRun, files: EvaluationFiles, device: torch.device) -> EpisodeImages:
    """The test images: labels, and features as the run reads them."""
    catalog = Catalog({job.dataset.name: open_dataset(job.dataset)})
    features: FeatureSource
    if job.features.live is None:
        features = FeatureStore(files.features)
    else:
        features = live_features(job.features.live, catalog, device, keep=True)
    superpixels = SuperpixelStore(files.superpixels)
    return EpisodeImages(
        catalog, on_trained_scale(features, files.manifest), read_superpixels=superpixels.read
    )


def scoring_options(job: EvaluateRun, batch_size: int, device: torch.device) -> ScoringOptions:
    """The options of scoring the run."""
    features = job.features
    return ScoringOptions(features.mid, features.high, batch_size, device, job.amp, job.refine)


def tested_episodes(job: EvaluateRun, files: EvaluationFiles) -> dict[tuple[int, int], str]:
    """(fold, episode seed) -> manifest of the episodes."""
    return dict(zip(product(job.folds, range(job.seeds)), files.episodes, strict=True))


def evaluate_run(
    job: EvaluateRun,
    files: EvaluationFiles,
    path: str | Path,
    *,
    batch_size: int,
    device: torch.device,
) -> None:
    """Test the run on every fold and seed, and write the counts to `path`.

    Args:
        job: Everything but the files that decides the counts.
        files: The files to read.
        path: The result file.
        batch_size: Episodes per forward pass; no effect on counts.
        device: Where the model runs.
    """
    model, images = tested_model(job, files), tested_images(job, files, device)
    options = scoring_options(job, batch_size, device)
    paths = tested_episodes(job, files)
    episodes = {key: EpisodeList.load(file) for key, file in paths.items()}

    scores = {
        fold: {
            seed: evaluate(model, episodes[fold, seed], images, options)
            for seed in range(job.seeds)
        }
        for fold in job.folds
    }
    classes: dict[int, Sequence[int]] = {
        fold: job.dataset.novel_classes(fold) for fold in job.folds
    }
    if job.rare_classes == "leave_out":  # only classes with episodes can be tested
        for fold in job.folds:
            drawn = [episodes[fold, seed].class_id.tolist() for seed in range(job.seeds)]
            classes[fold] = sorted(set().union(*drawn))
    weights = [read_manifest(file, "training") for file in files.weights]
    save_results(
        path,
        scores,
        classes=classes,
        facts={
            "run": job.run,
            "dataset": job.dataset.name,
            "shot": job.shot,
            "classes_tested": {f"fold{fold}": len(tested) for fold, tested in classes.items()},
            "superpixels": [SUPERPIXELS.manifest(file)["digest"] for file in files.superpixels],
            "weights": [one["digest"] for one in weights],
            "collapsed": any(one["collapsed"] for one in weights),
            "features": [read_manifest(file, "features")["digest"] for file in files.features],
            "episodes": {
                f"fold{fold}-seed{seed}": EPISODES.manifest(file)["digest"]
                for (fold, seed), file in paths.items()
            },
            "versions": package_versions("umtfss", "torch", "numpy"),
        },
    )
