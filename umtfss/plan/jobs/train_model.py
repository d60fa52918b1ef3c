"""The job of the rule `train_model`."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from umtfss.data.source import DatasetSource
from umtfss.experiment.features import ModelFeatures
from umtfss.experiment.model import ModelConfig
from umtfss.experiment.training import TrainingConfig
from umtfss.plan.jobs.job import Job
from umtfss.plan.run import TaskSource

if TYPE_CHECKING:
    from umtfss.plan.plan import Plan
    from umtfss.plan.run import RunSpec


@dataclass(frozen=True)
class TrainModel(Job):
    """Train one run.

    Attributes:
        model: Name of the meta-learner.
        settings: The model block, reduced to the keys that the meta-learner reads.
        features: The features that the meta-learner reads.
        training: The training's settings. The number of loader processes and the time between
            checkpoints decide no number; the rule passes them as resources.
        tasks: Source of the training tasks.
        sources: Data sets whose images or labels are read; empty if features and masks are stored.
        seed: Training seed.
        behind: Settings that decided the training's inputs, for the record in the manifest.
    """

    model: str
    settings: ModelConfig
    features: ModelFeatures
    training: TrainingConfig
    tasks: TaskSource
    sources: tuple[DatasetSource, ...]
    seed: int
    behind: dict[str, Any]

    @classmethod
    def of(cls, plan: "Plan", wildcards: Any) -> "TrainModel":
        """The job of the run at `wildcards.run`."""
        return cls.of_run(plan, plan.runs.run_at(wildcards.run))

    @classmethod
    def of_run(cls, plan: "Plan", run: "RunSpec") -> "TrainModel":
        """The job of a run."""
        elsewhere = ("workers", "checkpoint_minutes")
        defaults = {key: TrainingConfig.model_fields[key].default for key in elsewhere}
        return cls(
            model=run.model,
            settings=plan.runs.model_settings(run),
            features=plan.features.model_features(run),
            training=plan.runs.training_settings(run).model_copy(update=defaults),
            tasks=run.tasks,
            sources=tuple(plan.inputs.training_sources(run)),
            seed=run.seed,
            behind=_behind(plan, run),
        )

    @property
    def modules(self) -> tuple[str, ...]:
        """The module of the meta-learner."""
        return (f"umtfss/models/{self.model}.py",)

    def deciding(self) -> dict[str, Any]:
        """The fields that decide the weights, given the inputs, as JSON-able values."""
        return {key: value for key, value in self.params().items() if key != "behind"}

    def made_with(self) -> dict[str, Any]:
        """All settings that decide the weights, block by block, for the manifest."""
        own = self.params()
        return {"model": own["settings"], "training": own["training"], **self.behind}


def _behind(plan: "Plan", run: "RunSpec") -> dict[str, Any]:
    """The settings that decided a run's inputs, by block, with settings in place of names."""
    experiment, named = plan.experiment, {"features"}
    features = {"model": plan.features.features_behind(plan.features.run_features(run))}
    episodes = experiment.episodes.model_dump(mode="json", exclude={"draw"})
    found: dict[str, Any] = {"features": features, "episodes": episodes}
    if run.tasks is TaskSource.LABELS:
        return found
    pool = experiment.pools[run.pool]
    features["clustering"] = plan.features.features_behind(experiment.clustered_features(run.pool))
    features["pseudo_masks"] = plan.features.features_behind(experiment.assigned_features(run.pool))
    return {
        **found,
        "pool": pool.model_dump(mode="json", exclude=named),
        "clustering": experiment.clustering.model_dump(mode="json", exclude=named),
        "pseudo_masks": experiment.pseudo_masks.model_dump(mode="json", exclude=named),
    }
