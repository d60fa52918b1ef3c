"""The whole experiment file: its blocks, and the checks across blocks.

Each block has a module of this package; `umtfss/experiment/load.py` reads a file.
"""

import os
from pathlib import Path
from typing import Any

from pydantic import Field, model_validator

from umtfss.experiment.block import Block, Name, known
from umtfss.experiment.clustering import ClusteringConfig
from umtfss.experiment.datasets import DATA_ROOT_VARIABLE, DatasetConfig
from umtfss.experiment.episodes import EpisodesConfig
from umtfss.experiment.evaluation import EvaluationConfig
from umtfss.experiment.extraction import ExtractionConfig
from umtfss.experiment.features import DiffusedConfig, ExtractedConfig, NamedFeatures
from umtfss.experiment.floor import FloorConfig
from umtfss.experiment.model import ModelBlock
from umtfss.experiment.models import MASKSPLIT, MODELS, TRAINING_FREE
from umtfss.experiment.pools import PoolConfig
from umtfss.experiment.pseudo_masks import PseudoMasksConfig
from umtfss.experiment.tables import TablesConfig
from umtfss.experiment.training import LENGTH, TrainingConfig


class Experiment(Block):
    """Everything that decides an experiment's numbers."""

    name: Name = Field(description="names results/<name>")
    description: str = Field(description="one sentence")
    data_root: str = Field(
        "data", description=f"folder of raw data sets; ${DATA_ROOT_VARIABLE} overrides it"
    )
    datasets: dict[Name, DatasetConfig] = Field(min_length=1, description="data sets by name")
    pools: dict[Name, PoolConfig] = Field(min_length=1, description="unlabelled pools by name")
    features: dict[Name, NamedFeatures] = Field(min_length=1, description="frozen features by name")
    extraction: ExtractionConfig = Field(default_factory=ExtractionConfig)
    clustering: ClusteringConfig = Field(default_factory=ClusteringConfig)
    pseudo_masks: PseudoMasksConfig = Field(default_factory=PseudoMasksConfig)
    episodes: EpisodesConfig = Field(default_factory=EpisodesConfig)
    model: ModelBlock = Field(default_factory=ModelBlock, description="the meta-learner")
    floor: FloorConfig = Field(default_factory=FloorConfig)
    training: dict[Name, TrainingConfig] = Field(
        min_length=1,
        description="pool -> meta-training on its pseudo-tasks; a pool that is only diffused over "
        "needs none",
    )
    supervised: dict[Name, TrainingConfig] = Field(
        default_factory=dict,
        description="data set -> meta-training from scratch on labels of base classes",
    )
    fine_tuning: dict[Name, TrainingConfig] = Field(
        default_factory=dict,
        description="data set -> meta-training on labels, from unsupervised weights",
    )
    evaluation: EvaluationConfig = Field(default_factory=EvaluationConfig)
    tables: TablesConfig = Field(description="tables to fill")
    seed: int = Field(0, description="seed of training and pseudo-episodes, from config.yaml")

    @model_validator(mode="before")
    @classmethod
    def _fill_model(cls, data: Any) -> Any:
        """A model reads the only features, if it names none."""
        if not isinstance(data, dict) or not isinstance(data.get("features"), dict):
            return data
        model = data.get("model", {})
        if isinstance(model, dict) and "features" not in model and len(data["features"]) == 1:
            return {**data, "model": {**model, "features": next(iter(data["features"]))}}
        return data

    @model_validator(mode="after")
    def _check_names(self) -> "Experiment":
        for pool in self.training:
            known(pool, self.pools, "training")
            if self.pools[pool].clusters is None:
                raise ValueError(f"pools.{pool} is trained on: it needs a number of `clusters`")
        for pool, settings in self.pools.items():
            for split in settings.images:
                dataset, _, name = split.partition("/")
                known(dataset, self.datasets, f"pools.{pool}.images")
                known(name, self.datasets[dataset].splits, f"pools.{pool}.images: {dataset}")
            if pool not in {one.diffuse_over for one in self.diffused.values()}:
                known(pool, self.training, f"pools.{pool} (it needs a block in training)")
        for block in ("supervised", "fine_tuning"):
            for dataset in getattr(self, block):
                known(dataset, self.datasets, block)
        models: dict[str, list[str]] = {}
        for block in ("training", "supervised", "fine_tuning"):
            for name, stage in getattr(self, block).items():
                models[f"{block}.{name}.models"] = list(stage.models)
        for name, table in self.tables.filled.items():
            models[f"tables.{name}.models"] = table.listed_models
        trained = [name for name in MODELS if name not in TRAINING_FREE]
        for where, names in models.items():
            for name in names:
                known(name, trained, where)
        for where, dataset, pool in self.tables.tested:
            known(dataset, self.datasets, f"{where}.dataset")
            known(pool, self.pools, f"{where}.pool")
            known(pool, self.training, f"{where}.pool (it needs a block in training)")
            if self.datasets[dataset].kind == "folder":
                raise ValueError(f"{where}: data set {dataset} is a folder without masks")
        for name, table in self.tables.filled.items():
            for pool in table.split_pools:
                for split in self.pools[pool].images:
                    if self.datasets[split.split("/")[0]].kind == "folder":
                        raise ValueError(
                            f"tables.{name}.settings: 'fold' selects images by their labels, "
                            f"but pool {pool} holds {split}, which has none; write [all]"
                        )
        return self

    @model_validator(mode="after")
    def _check_features(self) -> "Experiment":
        """Refuse unknown names of features, and features that a block cannot read."""
        read = {f"pools.{pool}.features": one.features for pool, one in self.pools.items()}
        for block in ("clustering", "pseudo_masks", "model", "floor"):
            read[f"{block}.features"] = getattr(self, block).features
        for where, name in read.items():
            if name is not None:
                known(name, self.features, where)
        for name, one in self.diffused.items():
            known(one.source, self.features, f"features.{name}.from")
            source = self.features[one.source]
            if isinstance(source, DiffusedConfig) or not source.cache:
                raise ValueError(
                    f"features.{name}.from: {one.source} must be features of a backbone, with "
                    f"`cache: true`"
                )
            self._check_diffused(name, one)
        for pool in self.training:
            self._check_clustered(pool)
        return self

    @model_validator(mode="after")
    def _check_tested(self) -> "Experiment":
        """Refuse pools with tested images; other names of tested images are found by content."""
        for where, name, _ in self.tables.tested:
            tested = f"{name}/{self.datasets[name].test_split}"
            for pool, settings in self.pools.items():
                if tested in settings.images and not self.datasets[name].is_development:
                    raise ValueError(
                        f"pools.{pool}.images holds {tested}, on which {where} tests; to choose "
                        f"settings on training images, write `test_split: train`"
                    )
        return self

    def _check_diffused(self, name: str, diffused: DiffusedConfig) -> None:
        """Refuse a pool with tested images: an episode must not see other tested images."""
        where = f"features.{name}.diffuse_over"
        known(diffused.diffuse_over, self.pools, where)
        for _, dataset, _ in self.tables.tested:
            tested = f"{dataset}/{self.datasets[dataset].test_split}"
            if tested in self.pools[diffused.diffuse_over].images:
                raise ValueError(
                    f"{where}: pool {diffused.diffuse_over} holds the tested images {tested}, and "
                    f"an episode would see more than its own"
                )

    def _check_clustered(self, pool: str) -> None:
        """Refuse features that cannot be assigned to centroids of the clustered features."""
        clustered, assigned = self.clustered_features(pool), self.assigned_features(pool)
        for name in (clustered, assigned):
            if not self.features[name].cache:
                raise ValueError(
                    f"pool {pool} is clustered on the features {name}: they need `cache: true`"
                )
        if self.pools[pool].clustered == "objects" and clustered in self.diffused:
            raise ValueError(
                f"pools.{pool}: objects are cut from an image's own tokens, but the features "
                f"{clustered} are diffused; name those of a backbone in pools.{pool}.features"
            )
        one, other = self.features[clustered], self.features[assigned]
        alike = {"backbone", "level", "mirrored", "weights"}
        same = (
            isinstance(one, ExtractedConfig)
            and isinstance(other, ExtractedConfig)
            and one.model_dump(include=alike) == other.model_dump(include=alike)
        )
        if clustered != assigned and not same:
            raise ValueError(
                f"pseudo_masks.features: {assigned} and the clustered features {clustered} must "
                f"have the same {', '.join(sorted(alike))}"
            )

    @model_validator(mode="after")
    def _check_ablation(self) -> "Experiment":
        """Refuse an ablation of parts that the experiment does not have."""
        if self.tables.ablation is None:
            return self
        diffused = self.diffused.get(self.model.features)
        if diffused is None or self.floor_features != diffused.source:
            raise ValueError(
                "tables.ablation takes diffusion away: model.features must be diffused, and "
                "floor.features must be their source"
            )
        if not (self.model.prototype.self_support and self.model.residual != "none"):
            raise ValueError(
                "tables.ablation takes self-support and the matcher's score away: it needs "
                "model.prototype.self_support and a model.residual"
            )
        return self

    @model_validator(mode="after")
    def _check_stages(self) -> "Experiment":
        """Refuse tables of trainings on labels that no block describes."""
        for name, table in self.tables.filled.items():
            for block, dataset in table.labelled:
                if dataset not in getattr(self, block):
                    raise ValueError(
                        f"tables.{name} trains on labels: it needs a block {block}.{dataset}"
                    )
        for dataset in set(self.supervised) & set(self.fine_tuning):
            shots = {block[dataset].shot for block in (self.supervised, self.fine_tuning)}
            if len(shots) > 1:
                raise ValueError(
                    f"supervised.{dataset} and fine_tuning.{dataset} train on one list of "
                    f"episodes: give them the same shot, not {sorted(shots)}"
                )
        return self

    @model_validator(mode="after")
    def _check_lengths(self) -> "Experiment":
        """Refuse a different length for a model that shares its episodes with other models."""
        shares = any(MASKSPLIT in one.listed_models for one in self.tables.filled.values())
        for block in ("training", "supervised", "fine_tuning"):
            for name, stage in getattr(self, block).items():
                for model, changed in stage.models.items():
                    alone = block == "training" and model == MASKSPLIT and not shares
                    fixed = sorted(set(LENGTH) & set(changed))
                    if fixed and not alone:
                        raise ValueError(
                            f"{block}.{name}.models.{model}: {fixed} cannot differ by model, as "
                            f"all models train on the same episodes; only {MASKSPLIT} may have "
                            f"them, in training, where no table lists it in its `models`"
                        )
        return self

    @property
    def raw_data_root(self) -> Path:
        """The folder of raw data: the environment variable, else `data_root`.

        A relative path starts at the current folder, as results do.
        """
        named = Path(os.environ.get(DATA_ROOT_VARIABLE, self.data_root))
        return Path.cwd() / named.expanduser()

    @property
    def diffused(self) -> dict[str, DiffusedConfig]:
        """The named features that are diffused over a pool."""
        return {n: one for n, one in self.features.items() if isinstance(one, DiffusedConfig)}

    @property
    def extracted(self) -> dict[str, ExtractedConfig]:
        """The named features that a backbone computes."""
        return {n: one for n, one in self.features.items() if isinstance(one, ExtractedConfig)}

    def source_of(self, features: str) -> str:
        """The source of diffused features; other features are their own source."""
        return self.diffused[features].source if features in self.diffused else features

    @property
    def floor_features(self) -> str:
        """The named features that the training-free floor reads."""
        return self.floor.features or self.model.features

    def pools_of(self, clustered: str) -> list[str]:
        """The pools that cluster "pixels" or "objects"."""
        return [name for name, one in self.pools.items() if one.clustered == clustered]

    def clustered_features(self, pool: str) -> str:
        """The named features that k-means clusters in a pool."""
        return self.pools[pool].features or self.clustering.features or self.model.features

    def assigned_features(self, pool: str) -> str:
        """The named features whose pixels are assigned to the clusters of a pool."""
        own = self.pools[pool].features or self.pseudo_masks.features
        return own or self.clustered_features(pool)

    @property
    def salient_features(self) -> str:
        """The named features for saliency, never diffused: diffused features are not local."""
        assigned = self.pseudo_masks.features or self.clustering.features or self.model.features
        return self.source_of(assigned)
