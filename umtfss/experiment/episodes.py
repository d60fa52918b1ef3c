"""The block `episodes`: how episodes are drawn."""

from typing import Annotated, Literal

from pydantic import Field

from umtfss.experiment.block import Block


class EpisodesConfig(Block):
    """How test and pseudo-episodes are drawn (protocol section 2, 3.7, 3.8)."""

    draw: Literal["class_uniform", "list_order"] = Field(
        "class_uniform", description="test: class uniform (choice), or the authors' list order"
    )
    max_border: Annotated[float, Field(gt=0)] | None = Field(
        None,
        description="clusters that lie on the images' borders more often than this times the "
        "average are background and make no pseudo-episodes; null: every cluster does",
    )
    novel_images: Literal["keep", "exclude"] = Field(
        "keep",
        description="labelled training images that also hold novel classes: kept, their novel "
        "pixels background, or left out (as BAM does)",
    )
