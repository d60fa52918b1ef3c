"""The settings that decide, beside weights, what a segmenter finds in a photo."""

from dataclasses import dataclass
from typing import Literal

from pydantic import TypeAdapter

from umtfss.experiment.evaluation import RefineConfig
from umtfss.experiment.features import ExtractedConfig, ModelFeatures
from umtfss.experiment.model import ModelConfig
from umtfss.experiment.pseudo_masks import PseudoMasksConfig
from umtfss.plan.plan import Plan
from umtfss.plan.run import RunSpec


@dataclass(frozen=True)
class Recipe:
    """The settings of a segmenter.

    Attributes:
        model: Name of the meta-learner.
        settings: The model block, reduced to the keys that the meta-learner reads.
        features: The features that the meta-learner reads.
        extracted: How features of photos are extracted; of diffused features, before diffusion.
        mid_scales: Level -> factor of its features, from the training; empty: none.
        superpixels: Settings of the superpixels that a step of `refine` reads.
        refine: Refinement of the score of every pixel.
        amp: Mixed precision.
    """

    model: str
    settings: ModelConfig
    features: ModelFeatures
    extracted: ExtractedConfig
    mid_scales: dict[str, float]
    superpixels: PseudoMasksConfig
    refine: RefineConfig
    amp: Literal["off", "bf16", "fp16"]

    @classmethod
    def of_run(cls, plan: Plan, run: RunSpec, mid_scales: dict[str, float]) -> "Recipe":
        """The settings of a run of an experiment."""
        experiment = plan.experiment
        return cls(
            model=run.model,
            settings=plan.runs.model_settings(run),
            features=plan.features.model_features(run),
            extracted=plan.features.extracted(plan.features.run_features(run)),
            mid_scales=mid_scales,
            superpixels=experiment.pseudo_masks,
            refine=experiment.evaluation.refine,
            amp=experiment.evaluation.amp,
        )

    def as_json(self) -> str:
        """The settings as JSON."""
        return TypeAdapter(Recipe).dump_json(self).decode()

    @classmethod
    def from_json(cls, text: str) -> "Recipe":
        """The settings from JSON."""
        return TypeAdapter(Recipe).validate_json(text)
