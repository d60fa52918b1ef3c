"""The block `pools`: unlabelled images."""

from typing import Annotated

from pydantic import Field

from umtfss.experiment.block import Block, Distinct, Name, SplitName


class PoolConfig(Block):
    """An unlabelled pool: images whose clusters become pseudo-classes, or to diffuse over."""

    images: Distinct[SplitName] = Field(
        min_length=1, description="data set splits, e.g. pascal/train"
    )
    clusters: Annotated[int, Field(ge=2, le=254)] | None = Field(
        None,
        description="number of clusters N (paper: 50 on COCO, 30 on PASCAL); needed where there is "
        "a training block",
    )
    features: Name | None = Field(
        None,
        description="named features that are clustered and assigned, for clusters of another "
        "network than the model's; null: those of the blocks clustering and pseudo_masks",
    )
