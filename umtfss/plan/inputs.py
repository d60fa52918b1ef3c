"""The inputs of each rule's jobs: manifests and files."""

from functools import cached_property
from typing import Any

from umtfss.data.source import DatasetSource
from umtfss.plan.features import Features
from umtfss.plan.paths import FeatureCache, Paths, pairs_of
from umtfss.plan.run import EvaluationSpec, Measurement, RunSpec, TaskSource
from umtfss.plan.runs import Runs


class Inputs:
    """The inputs of the jobs of an experiment.

    Args:
        paths: Where files lie.
        features: The features of the experiment.
        runs: The runs of the experiment.
    """

    def __init__(self, paths: Paths, features: Features, runs: Runs) -> None:
        self.experiment = paths.experiment
        self.paths, self.features, self.runs = paths, features, runs

    def training_caches(self, run: RunSpec) -> list[FeatureCache]:
        """The caches that a run is trained on; empty if its features are live."""
        return self.features.caches(self.features.run_features(run), self.runs.training_splits(run))

    def tested_caches(self, run: RunSpec, dataset: str) -> list[FeatureCache]:
        """The caches of a data set's test images that a run reads; empty if features are live."""
        return self.features.caches(
            self.features.run_features(run), [self.paths.tested_split(dataset)]
        )

    def test_superpixels(self, one: EvaluationSpec | Measurement, suffix: str = ".h5") -> list[str]:
        """The superpixels of an evaluation's test images; empty if no step reads superpixels."""
        if "superpixels" not in one.refine:
            return []
        split = self.experiment.datasets[one.dataset].test_split
        return self.paths.superpixels(one.dataset, split, suffix)

    def tested_indexes(self, dataset: str, split: str) -> list[str]:
        """The verified lists of test images that a split must not hold.

        They are those on which runs that learn from the split are tested. A development split is
        made of training images, and so is left out.
        """
        tested = self._tested_by_split.get(f"{dataset}/{split}", set())
        return sorted(self.paths.test_index(name) for name in tested)

    @cached_property
    def _tested_by_split(self) -> dict[str, set[str]]:
        """Split that is learnt from -> data sets on which what is learnt is tested."""
        found: dict[str, set[str]] = {}
        for measured in {m for table in self.runs.every_table for m in table.measurements}:
            if not self.experiment.datasets[measured.dataset].is_development:
                for split in self.learnt_splits(measured.run):
                    found.setdefault(split, set()).add(measured.dataset)
        return found

    def learnt_splits(self, run: RunSpec) -> set[str]:
        """The splits whose images or labels decide a run: its own, and those before it."""
        splits: set[str] = set()
        features = {self.features.run_features(run)}
        if run.is_trained:
            splits.update(self.runs.training_splits(run))
        if run.tasks is TaskSource.CLUSTERS:
            features.add(self.experiment.clustered_features(run.pool))
            features.add(self.experiment.assigned_features(run.pool))
        for name in features & self.experiment.diffused.keys():
            pool = self.experiment.diffused[name].diffuse_over
            splits.update(self.experiment.pools[pool].images)
        return splits | (self.learnt_splits(run.initial) if run.initial else set())

    def training_inputs(self, run: RunSpec) -> dict[str, Any]:
        """Manifests and files that the training of a run reads."""
        splits = self.runs.training_splits(run) if self.reads_images(run) else []
        return {
            "episodes": self.paths.training_episodes(run, ".json"),
            "masks": self.paths.task_masks(run, ".json"),
            "features": self.paths.feature_manifests(self.training_caches(run)),
            "indexes": [self.paths.index(*pair) for pair in pairs_of(splits)],
            "initial": self.paths.training_manifest(run.initial),
        }

    def reads_images(self, run: RunSpec) -> bool:
        """Whether a training reads images or labels; if not, it does not need the raw files."""
        return run.tasks is TaskSource.LABELS or self.features.model_features(run).live is not None

    def training_sources(self, run: RunSpec) -> list[DatasetSource]:
        """The data sets whose images or labels a training reads."""
        return self.paths.sources(self.runs.training_splits(run)) if self.reads_images(run) else []

    def training_files(self, run: RunSpec) -> list[str]:
        """The big files that the manifests of `training_inputs` describe."""
        masks = self.paths.task_masks(run)
        return [
            self.paths.training_episodes(run),
            *masks,
            *self.paths.training_weights(run.initial),
        ]

    def clustered_features(self, pool: str) -> list[str]:
        """The manifests of the features that the clustering of a pool reads."""
        name = self.experiment.clustered_features(pool)
        return self.paths.feature_manifests(
            self.features.caches(name, self.experiment.pools[pool].images)
        )

    def mapped_features(self, features: str) -> list[str]:
        """The manifests of the pool's features that named features are diffused over."""
        return self.paths.feature_manifests(self.features.mapped_caches(features))

    def features_before(self, features: str, dataset: str, split: str, shard: str) -> str:
        """The manifest of the source shard of a shard of diffused features."""
        return self.paths.feature_manifest(
            self.experiment.source_of(features), dataset, split, shard
        )

    def assigned_features(self, pool: str, dataset: str, split: str, shard: str) -> str:
        """The manifest of the shard of features that is assigned to clusters."""
        return self.paths.feature_manifest(
            self.experiment.assigned_features(pool), dataset, split, shard
        )

    def salient_features(self, dataset: str, split: str, shard: str) -> str:
        """The manifest of the shard of features that saliency is computed from."""
        return self.paths.feature_manifest(self.experiment.salient_features, dataset, split, shard)

    def table_inputs(self, name: str) -> list[str]:
        """The evaluation files that a table reads."""
        return [
            self.paths.evaluation(spec)
            for spec in self.runs.evaluations_of(self.runs.table_named(name))
        ]

    @property
    def claim_inputs(self) -> list[str]:
        """The evaluation files that the ledger of claims reads."""
        measured = (m for claim in self.runs.claims for m in claim.measurements)
        return [self.paths.evaluation(spec) for spec in self.runs.evaluations_behind(measured)]

    def tested_episodes(self, spec: EvaluationSpec, suffix: str = ".h5") -> list[str]:
        """The episodes of an evaluation (`.h5`), or their manifests (`.json`)."""
        return [
            self.paths.test_episodes(spec.dataset, fold, spec.shot, seed, suffix)
            for fold in spec.folds
            for seed in range(spec.seeds)
        ]

    def evaluation_inputs(self, spec: EvaluationSpec) -> dict[str, Any]:
        """Manifests that an evaluation reads, and the index of its images."""
        run, dataset = spec.run, spec.dataset
        return {
            "weights": self.paths.training_manifest(run),
            "features": self.paths.feature_manifests(self.tested_caches(run, dataset)),
            "superpixels": self.test_superpixels(spec, ".json"),
            "index": self.paths.test_index(spec.dataset),
            "episodes": self.tested_episodes(spec, ".json"),
        }

    def evaluation_files(self, spec: EvaluationSpec) -> list[str]:
        """The big files that the manifests of `evaluation_inputs` describe."""
        return [
            *self.paths.training_weights(spec.run),
            *self.test_superpixels(spec),
            *self.tested_episodes(spec),
        ]
