"""The block `evaluation`: how models are tested."""

from typing import Annotated, Literal

from pydantic import Field

from umtfss.experiment.block import Block, Distinct, PositiveInt

Metric = Literal["miou", "class_means"]  # the fields of `Score` that a table shows


class EvaluationConfig(Block):
    """Testing (protocol section 6)."""

    shots: Distinct[PositiveInt] = Field([1, 5], description="K at test")
    seeds: PositiveInt = Field(5, description="episode seeds of all tables but the ablations")
    training_seeds: PositiveInt = Field(
        1, description="trainings that a number is the mean of, for intervals that cover training"
    )
    batch_size: PositiveInt = Field(8, description="episodes per forward pass")
    bootstrap: Annotated[int, Field(ge=100)] = Field(1000, description="bootstrap resamples")
    interval: Annotated[float, Field(gt=0, lt=1)] = Field(0.95, description="interval's coverage")
    amp: Literal["off", "bf16", "fp16"] = Field("off", description="mixed precision")
