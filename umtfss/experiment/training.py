"""The blocks `training`, `supervised` and `fine_tuning`: settings of a meta-training."""

from dataclasses import dataclass
from math import ceil
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from umtfss.experiment.augment import AugmentConfig
from umtfss.experiment.block import Amp, Block, Fraction, Name, PositiveInt

LENGTH = ("epochs", "steps", "batch_size", "shot")  # keys that decide how many episodes are drawn


@dataclass(frozen=True)
class TrainingLength:
    """The settings that decide how many episodes a training reads.

    Attributes:
        epochs: Passes over the pool; None if `steps` is given.
        steps: Optimiser steps; None if `epochs` is given.
        batch_size: Episodes per step.
        shot: Supports per episode.
    """

    epochs: int | None
    steps: int | None
    batch_size: int
    shot: int

    def total_steps(self, images_per_epoch: int) -> int:
        """The number of optimiser steps of the training."""
        if self.steps is not None:
            return self.steps
        assert self.epochs is not None  # TrainingConfig refuses settings without both
        return self.epochs * ceil(images_per_epoch / self.batch_size)

    def episodes(self, images_per_epoch: int) -> int:
        """The number of episodes that the training reads."""
        return self.total_steps(images_per_epoch) * self.batch_size


class TrainingConfig(Block):
    """A meta-training; give either epochs or steps."""

    epochs: PositiveInt | None = Field(None, description="passes over the pool")
    steps: PositiveInt | None = Field(None, description="optimiser steps, instead of epochs")
    batch_size: PositiveInt = Field(4, description="episodes per step, over all processes")
    shot: PositiveInt = Field(1, description="supports per training episode")
    optimiser: Literal["sgd_adamw", "adamw", "adam"] = Field(
        "sgd_adamw",
        description="sgd_adamw: AdamW for the transformer, SGD for the rest (paper); adamw, or "
        "adam with L2 decay (MaskSplit): all parameters, at adamw_lr and adamw_weight_decay",
    )
    sgd_lr: Annotated[float, Field(gt=0)] = Field(2e-3, description="learning rate of SGD")
    lr_multiplier: Annotated[float, Field(gt=0)] = Field(15.0, description="factor on sgd_lr")
    momentum: Fraction = Field(0.9, description="SGD momentum")
    sgd_weight_decay: Annotated[float, Field(ge=0)] = Field(1e-4, description="SGD weight decay")
    adamw_lr: Annotated[float, Field(gt=0)] = Field(
        1e-4, description="learning rate of AdamW or Adam; constant with sgd_adamw"
    )
    adamw_weight_decay: Annotated[float, Field(ge=0)] = Field(
        1e-2, description="weight decay of AdamW (not on biases and norms) or Adam (on everything)"
    )
    decay: Literal["poly", "cosine", "constant"] = Field(
        "poly", description="decay of the main learning rate: of SGD, or of a sole optimiser"
    )
    poly_power: Annotated[float, Field(ge=0)] = Field(0.9, description="power of decay poly")
    warmup_steps: Annotated[int, Field(ge=0)] | None = Field(
        None,
        description="steps of linear warm-up of the main rate; null: the first epoch, or half of "
        "all steps if that is less",
    )
    ema: Annotated[float, Field(gt=0, lt=1)] | None = Field(
        None,
        description="decay of the exponential moving average of weights that a training leaves "
        "(0.99 averages about 100 steps); null: the training leaves its last weights",
    )
    amp: Amp = Field("off", description="mixed precision")
    clip_norm: Annotated[float, Field(gt=0)] | None = Field(
        None, description="largest norm of the gradients"
    )
    loss_side: PositiveInt | None = Field(
        None, description="side at which the loss is taken, px; null: the model's long_side"
    )
    workers: Annotated[int, Field(ge=0)] = Field(
        0, description="loader processes; no effect on results"
    )
    checkpoint_minutes: Annotated[float, Field(gt=0)] = Field(
        5.0, description="minutes between saves"
    )
    log_every: PositiveInt = Field(10, description="steps averaged into one line of log.csv")
    augment: AugmentConfig = Field(default_factory=AugmentConfig, description="augmentation")
    models: dict[Name, dict[str, Any]] = Field(
        default_factory=dict,
        description="model -> keys of this block with other values for this model, e.g. sgd_lr",
    )

    @property
    def length(self) -> TrainingLength:
        """The keys that decide how many episodes the training reads."""
        return TrainingLength(**{key: getattr(self, key) for key in LENGTH})

    def of_model(self, model: str) -> "TrainingConfig":
        """The training settings of one model, without `models`."""
        changed = self.models.get(model, {})
        kept = self.model_dump(exclude={"models"})
        if {"epochs", "steps"} & set(changed):
            kept |= {"epochs": None, "steps": None}
        return TrainingConfig.model_validate({**kept, **changed})

    @model_validator(mode="after")
    def _check_length(self) -> "TrainingConfig":
        if (self.epochs is None) == (self.steps is None):
            raise ValueError("give either `epochs:` or `steps:`")
        if self.steps is not None and (self.warmup_steps or 0) >= self.steps:
            raise ValueError(f"warmup_steps {self.warmup_steps} must be below steps {self.steps}")
        for model, changed in self.models.items():
            if "models" in changed:
                raise ValueError(f"models.{model}: a stage within a stage has no `models`")
            self.of_model(model)
        return self
