"""The settings and sources that decide a run: its weights, and the scores of its tests.

`umtfss/plan/plan.py` says which runs there are, `umtfss/plan/features.py` which features they read.
"""

from typing import Any

from umtfss.data.splits import ClassPresence, base_classes
from umtfss.experiment.model import ModelConfig
from umtfss.experiment.models import MASKSPLIT
from umtfss.experiment.training import TrainingConfig
from umtfss.plan.features import Caches
from umtfss.plan.run import TESTED_ALONE, RunSpec


class RunSettings(Caches):
    """What decides the runs of an experiment: when it changes, their results are stale."""

    def model_settings(self, run: RunSpec) -> ModelConfig:
        """The model block with the run's overrides, as far as its model reads it."""
        return self.experiment.model.changed(dict(run.overrides)).of_model(run.model)

    def tested_model(self, run: RunSpec) -> dict[str, Any]:
        """The model block of a run, as plain values."""
        return self.model_settings(run).model_dump(mode="json")

    def trained_model(self, run: RunSpec) -> dict[str, Any]:
        """The part of it that decides weights, and not tests alone."""
        return {k: v for k, v in self.tested_model(run).items() if k not in TESTED_ALONE}

    @staticmethod
    def model_source(run: RunSpec) -> str:
        """The module of the run's meta-learner; another one's file is none of its business."""
        return f"umtfss/models/{run.model}.py"

    def training_settings(self, run: RunSpec) -> TrainingConfig:
        """The training block of the run's stage, with what differs for its model."""
        experiment = self.experiment
        stages = experiment.training
        if run.tasks == "sup":
            stages = experiment.fine_tuning if run.init else experiment.supervised
        return stages[run.pool].of_model(run.model)

    def trained_with(self, run: RunSpec) -> dict[str, Any]:
        """The settings that a run's training reads, whatever they say of its inputs."""
        return {
            "model": self.trained_model(run),
            "training": self.training_settings(run).model_dump(
                mode="json", exclude={"workers", "checkpoint_minutes", "models"}
            ),
            "features": self.model_features(run).model_dump(mode="json"),
        }

    def settings_behind(self, run: RunSpec) -> dict[str, Any]:
        """All settings that decide a run's weights, block by block, be it by what it reads."""
        experiment = self.experiment
        features = {"model": self.features_behind(self.run_features(run))}
        found = {**self.trained_with(run), "features": features}
        if run.tasks != "sup":
            clustered = experiment.clustered_features(run.pool)
            assigned = experiment.assigned_features(run.pool)
            features["clustering"] = self.features_behind(clustered)
            features["pseudo_masks"] = self.features_behind(assigned)
            named = {"features"}  # the name decides nothing
            found |= {
                "pool": experiment.pools[run.pool].model_dump(mode="json", exclude=named),
                "clustering": experiment.clustering.model_dump(exclude=named),
                "pseudo_masks": experiment.pseudo_masks.model_dump(mode="json", exclude=named),
            }
        episodes = experiment.episodes.model_dump(mode="json", exclude={"draw"})
        return {**found, "episodes": episodes}

    def fold_classes(self, pool: str, fold: str) -> dict[str, ClassPresence] | None:
        """Data set of a pool -> the classes that its images must hold, in a fold; "all": none."""
        if fold == "all":
            return None
        found = {}
        for source in self.sources(self.experiment.pools[pool].images):
            classes = base_classes(source.kind, int(fold.removeprefix("fold")))
            area = self.experiment.datasets[source.name].min_class_area
            found[source.name] = ClassPresence(classes, area)
        return found

    def split_stage(self, pool: str) -> TrainingConfig:
        """The training on split masks of a pool; their episodes are MaskSplit's alone."""
        return self.experiment.training[pool].of_model(MASKSPLIT)

    def label_stages(self, dataset: str) -> list[TrainingConfig]:
        """The trainings on labels of a data set; all of them draw from one list of episodes."""
        blocks = (self.experiment.supervised, self.experiment.fine_tuning)
        return [block[dataset] for block in blocks if dataset in block]
