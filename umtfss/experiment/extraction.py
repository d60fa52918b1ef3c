"""The block `extraction`: how features are computed. It decides no number."""

from pydantic import Field

from umtfss.experiment.block import Block, PositiveInt


class ExtractionConfig(Block):
    """How the jobs compute features."""

    shards: PositiveInt = Field(1, description="jobs that share the images of a split")
    batch_size: PositiveInt = Field(8, description="images of equal size per forward pass")
