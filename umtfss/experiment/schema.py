"""The whole of an experiment file: its blocks, and what one block may say beside the others.

Each block has a module of this package; `umtfss/experiment/load.py` reads a file.
"""

import os
from pathlib import Path

from pydantic import Field, model_validator

from umtfss.common.files import PACKAGE_ROOT
from umtfss.experiment.backbones import backbone_spec
from umtfss.experiment.block import Block, Name, known
from umtfss.experiment.clustering import ClusteringConfig
from umtfss.experiment.datasets import DATA_ROOT_VARIABLE, DatasetConfig
from umtfss.experiment.episodes import EpisodesConfig
from umtfss.experiment.evaluation import EvaluationConfig
from umtfss.experiment.features import DIFFUSED, FeaturesConfig
from umtfss.experiment.model import ModelConfig
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
    features: FeaturesConfig = Field(description="frozen features")
    clustering: ClusteringConfig = Field(default_factory=ClusteringConfig)
    pseudo_masks: PseudoMasksConfig = Field(default_factory=PseudoMasksConfig)
    episodes: EpisodesConfig = Field(default_factory=EpisodesConfig)
    model: ModelConfig = Field(default_factory=ModelConfig)
    training: dict[Name, TrainingConfig] = Field(
        min_length=1,
        description="pool -> its meta-training; the pool of features.diffusion needs none",
    )
    supervised: dict[Name, TrainingConfig] = Field(
        default_factory=dict,
        description="data set -> its meta-training from scratch on labels of base classes",
    )
    fine_tuning: dict[Name, TrainingConfig] = Field(
        default_factory=dict,
        description="data set -> its meta-training on labels, from unsupervised weights",
    )
    evaluation: EvaluationConfig = Field(default_factory=EvaluationConfig)
    tables: TablesConfig = Field(description="tables to fill")
    seed: int = Field(0, description="seed of training and pseudo-episodes, from config.yaml")

    @model_validator(mode="after")
    def _check_names(self) -> "Experiment":
        diffusion = self.features.diffusion
        for pool in self.training:
            known(pool, self.pools, "training")
            if self.pools[pool].clusters is None:
                raise ValueError(f"pools.{pool} is trained on: it needs a number of `clusters`")
        for pool, settings in self.pools.items():
            for split in settings.images:
                dataset, _, name = split.partition("/")
                known(dataset, self.datasets, f"pools.{pool}.images")
                known(name, self.datasets[dataset].splits, f"pools.{pool}.images: {dataset}")
            if diffusion is None or pool != diffusion.pool:
                known(pool, self.training, f"pools.{pool} (it needs a block in training)")
            if settings.embedding is not None:
                spec = backbone_spec(settings.embedding.backbone)
                known(settings.embedding.level, spec.channels, f"pools.{pool}.embedding.level")
            if settings.level == DIFFUSED:
                known(DIFFUSED, {self.features.clustering.level}, f"pools.{pool}.level")
            elif settings.level is not None:
                spec = backbone_spec(self.features.clustering.backbone)
                known(settings.level, spec.channels, f"pools.{pool}.level")
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
    def _check_diffusion_pool(self) -> "Experiment":
        """An episode must see no other image that is tested, not even unlabelled."""
        diffusion, ablation = self.features.diffusion, self.tables.ablation
        if diffusion is None:
            if ablation is not None:
                raise ValueError("tables.ablation needs a block features.diffusion to do without")
            return self
        added = self.model.prototype.self_support and self.model.residual != "none"
        if ablation is not None and not added:
            raise ValueError(
                "tables.ablation takes self-support and the matcher's score away: it needs "
                "model.prototype.self_support and a model.residual"
            )
        if ablation is not None and self.pools[ablation.paper_pool].level in (None, DIFFUSED):
            raise ValueError(
                f"tables.ablation.paper_pool: pool {ablation.paper_pool} needs a `level:` of the "
                f"backbone, such as {diffusion.level}"
            )
        known(diffusion.pool, self.pools, "features.diffusion.pool")
        for _, dataset, _ in self.tables.tested:
            tested = f"{dataset}/{self.datasets[dataset].test_split}"
            if tested in self.pools[diffusion.pool].images:
                raise ValueError(
                    f"features.diffusion.pool: pool {diffusion.pool} holds the tested images "
                    f"{tested}, and an episode would see more than its own"
                )
        return self

    @model_validator(mode="after")
    def _check_stages(self) -> "Experiment":
        """Refuse tables of labelled training that no block describes."""
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
        """Refuse a length of its own for a model that trains on the same episodes as others."""
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

        A relative path counts from the project's root.
        """
        return PACKAGE_ROOT / os.environ.get(DATA_ROOT_VARIABLE, self.data_root)
