"""The block `augment` of a training: augmentation of its images."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from umtfss.experiment.block import Block, Fraction


class AugmentConfig(Block):
    """Augmentation of training images; cached features know flips and pairs alone."""

    scale_min: Annotated[float, Field(gt=0)] = Field(0.9, description="smallest scale")
    scale_max: Annotated[float, Field(gt=0)] = Field(1.1, description="largest scale")
    scale_of: Literal["original", "fitted"] = Field(
        "fitted",
        description="original: scales apply to the original image, as in the releases; fitted: to "
        "the image resized to the model's long side",
    )
    rotate_degrees: Annotated[float, Field(ge=0, le=180)] = Field(10, description="largest angle")
    rotate: Fraction = Field(0.5, description="probability of a rotation")
    blur: Fraction = Field(0.5, description="probability of a 5x5 Gaussian blur")
    flip: Fraction = Field(0.5, description="probability of a horizontal flip")
    vertical_flip: Fraction = Field(0.0, description="probability of a vertical flip (MaskSplit)")
    jitter: Fraction = Field(0.0, description="probability of a colour jitter (MaskSplit)")
    gray: Fraction = Field(0.0, description="probability of a grey image (MaskSplit)")
    crop_foreground: Fraction = Field(0.85, description="part of the foreground that a crop keeps")
    pairs: Fraction = Field(
        0.0,
        description="probability that the queries of a batch stand beside a query of another class "
        "each, so that only the supports tell which object is meant; for tasks of one object a "
        "photo, which a search for salient objects solves without supports; not in the paper",
    )

    @model_validator(mode="after")
    def _check_range(self) -> "AugmentConfig":
        if self.scale_min > self.scale_max:
            raise ValueError(
                f"scale_min {self.scale_min} must not exceed scale_max {self.scale_max}"
            )
        return self
