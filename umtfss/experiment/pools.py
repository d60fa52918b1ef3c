"""The block `pools`: unlabelled images."""

from typing import Annotated, Literal

from pydantic import Field

from umtfss.experiment.block import Block, Distinct, Name, SplitName


class PoolConfig(Block):
    """An unlabelled pool: images that are clustered into pseudo-classes or diffused over."""

    images: Distinct[SplitName] = Field(
        min_length=1, description="data set splits, e.g. pascal/train"
    )
    clusters: Annotated[int, Field(ge=2, le=254)] | None = Field(
        None,
        description="number of clusters N (paper: 50 on COCO, 30 on PASCAL); a pool with a "
        "training block needs it",
    )
    clustered: Literal["pixels", "objects"] = Field(
        "pixels",
        description="what is clustered: the pixels of all images (paper), or the salient object of "
        "every image as a whole, for photos, whose pixel clusters are parts of objects; objects "
        "read nothing of pseudo_masks but its features",
    )
    features: Name | None = Field(
        None,
        description="named features that are clustered and assigned in this pool; null: the "
        "features of the blocks clustering and pseudo_masks",
    )
