"""The block `pools`: unlabelled images."""

from typing import Annotated

from pydantic import Field, model_validator

from umtfss.experiment.block import Block, Distinct, Name, SplitName
from umtfss.experiment.features import EmbeddingConfig


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
    level: Name | None = Field(
        None, description="level that is clustered, if another than the features block says"
    )
    embedding: EmbeddingConfig | None = Field(
        None,
        description="pixel embedding of clustering and assignment, if another than the features "
        "block says; for clusters of another network than the model's",
    )

    @model_validator(mode="after")
    def _check_level(self) -> "PoolConfig":
        if self.level is not None and self.embedding is not None:
            raise ValueError("give either `level:` or `embedding:`, which has a level of its own")
        return self
