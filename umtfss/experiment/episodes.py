"""The block `episodes`: how episodes are drawn."""

from typing import Annotated, Literal

from pydantic import Field

from umtfss.experiment.block import Block


class EpisodesConfig(Block):
    """How test and pseudo-episodes are drawn."""

    draw: Literal["class_uniform", "list_order"] = Field(
        "class_uniform",
        description="how test queries are drawn: uniformly over classes (our choice), or in the "
        "authors' list order",
    )
    max_border: Annotated[float, Field(gt=0)] | None = Field(
        None,
        description="largest share of a cluster on image borders, over the average share; clusters "
        "above the limit count as background and make no pseudo-episodes; null: no limit",
    )
    novel_images: Literal["keep", "exclude"] = Field(
        "keep",
        description="labelled training images that also hold novel classes: keep them, with novel "
        "pixels as background, or exclude them (as in BAM)",
    )
