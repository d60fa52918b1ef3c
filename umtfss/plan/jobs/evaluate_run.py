"""The job of the rule `evaluate_run`."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Self

from umtfss.data.source import DatasetSource
from umtfss.experiment.evaluation import RefineConfig
from umtfss.experiment.features import ModelFeatures
from umtfss.experiment.model import ModelConfig
from umtfss.plan.jobs.job import Job

if TYPE_CHECKING:
    from umtfss.plan.plan import Plan
    from umtfss.plan.run import EvaluationSpec


@dataclass(frozen=True)
class EvaluateRun(Job):
    """Test one run on a data set with K shots, every fold and episode seed.

    Attributes:
        run: The run's path, for the record in the result.
        model: Name of the meta-learner.
        settings: The model block, reduced to the keys that the meta-learner reads.
        features: The features that the meta-learner reads.
        dataset: The tested data set.
        shot: K.
        folds: Tested folds.
        seeds: Number of episode seeds of every fold.
        rare_classes: Whether classes without episodes are an error or are left out.
        refine: Refinement of the scores.
        amp: Mixed precision.
    """

    run: str
    model: str
    settings: ModelConfig
    features: ModelFeatures
    dataset: DatasetSource
    shot: int
    folds: tuple[int, ...]
    seeds: int
    rare_classes: Literal["refuse", "leave_out"]
    refine: RefineConfig
    amp: Literal["off", "bf16", "fp16"]

    @classmethod
    def of(cls, plan: "Plan", wildcards: Any) -> Self:
        """The job of the run, data set, shots and refinement of `wildcards`."""
        return cls.of_spec(plan, plan.runs.evaluation_at(wildcards))

    @classmethod
    def of_spec(cls, plan: "Plan", spec: "EvaluationSpec") -> Self:
        """The job of an evaluation."""
        run, evaluation = spec.run, plan.experiment.evaluation
        return cls(
            run=run.path,
            model=run.model,
            settings=plan.runs.model_settings(run),
            features=plan.features.model_features(run),
            dataset=plan.paths.source(spec.dataset),
            shot=spec.shot,
            folds=spec.folds,
            seeds=spec.seeds,
            rare_classes=plan.experiment.datasets[spec.dataset].rare_classes,
            refine=evaluation.refine.only(spec.refine),
            amp=evaluation.amp,
        )

    @property
    def modules(self) -> tuple[str, ...]:
        """The module of the meta-learner."""
        return (f"umtfss/models/{self.model}.py",)


@dataclass(frozen=True)
class BesideFloor(Job):
    """Draw test episodes as the main run and the training-free floor segment them.

    Attributes:
        run: The 1-shot evaluation of the main run.
        floor: The 1-shot evaluation of the floor on the same episodes.
    """

    run: EvaluateRun
    floor: EvaluateRun

    @classmethod
    def of(cls, plan: "Plan", wildcards: Any) -> Self:
        """The job of the experiment."""
        return cls(
            EvaluateRun.of_spec(plan, plan.runs.panel),
            EvaluateRun.of_spec(plan, plan.runs.panel_floor),
        )

    @property
    def modules(self) -> tuple[str, ...]:
        """The modules of both models."""
        return tuple(dict.fromkeys((*self.run.modules, *self.floor.modules)))
