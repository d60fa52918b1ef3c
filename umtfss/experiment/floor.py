"""The block `floor`: the training-free matcher that trained models are compared with."""

from pydantic import Field

from umtfss.experiment.block import Block, Name


class FloorConfig(Block):
    """The training-free floor."""

    features: Name | None = Field(
        None, description="named features that the floor reads; null: the model's features"
    )
