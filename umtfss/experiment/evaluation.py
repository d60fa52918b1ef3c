"""The block `evaluation`: how models are tested."""

from collections.abc import Collection
from typing import Annotated, Literal

from pydantic import Field

from umtfss.experiment.block import Amp, Block, Distinct, Fraction, PositiveInt

Metric = Literal["miou", "class_means"]  # the fields of `Score` that a table shows


class RefineConfig(Block):
    """Refinement of a score before its sign is taken, step by step; a step of 0 is left out."""

    superpixels: Fraction = Field(
        0.0,
        description="weight of the score's mean over each superpixel of the query; superpixels are "
        "set in pseudo_masks; not in the paper",
    )

    @property
    def steps(self) -> tuple[str, ...]:
        """The names of the steps that are not 0, in order."""
        return tuple(name for name in type(self).model_fields if getattr(self, name))

    def only(self, steps: Collection[str]) -> "RefineConfig":
        """The block with all steps but `steps` set to 0."""
        left_out = [name for name in type(self).model_fields if name not in steps]
        return self.model_copy(update=dict.fromkeys(left_out, 0.0))


class EvaluationConfig(Block):
    """Testing: shots, seeds and intervals."""

    shots: Distinct[PositiveInt] = Field([1, 5], description="numbers of supports K at test")
    seeds: PositiveInt = Field(5, description="episode seeds of all tables but the ablations")
    training_seeds: PositiveInt = Field(
        1, description="trainings per number; with several, intervals cover training, too"
    )
    batch_size: PositiveInt = Field(8, description="episodes per forward pass")
    bootstrap: Annotated[int, Field(ge=100)] = Field(1000, description="bootstrap resamples")
    interval: Annotated[float, Field(gt=0, lt=1)] = Field(0.95, description="coverage of intervals")
    amp: Amp = Field("off", description="mixed precision")
    refine: RefineConfig = Field(
        default_factory=RefineConfig, description="refinement of the scores of all models"
    )
