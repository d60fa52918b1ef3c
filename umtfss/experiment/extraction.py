"""The block `extraction`: how jobs compute features; no number depends on this block."""

from pydantic import Field

from umtfss.experiment.block import Block, PositiveInt


class ExtractionConfig(Block):
    """How jobs compute features; no number depends on this block."""

    shards: PositiveInt = Field(1, description="jobs that share the images of a split")
    batch_size: PositiveInt = Field(8, description="images of equal size per forward pass")
