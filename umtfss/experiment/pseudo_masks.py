"""The block `pseudo_masks`: from clusters to regions."""

from typing import Annotated, Literal

from pydantic import Field

from umtfss.experiment.block import Block, Name, PositiveInt, Unquoted


class PseudoMasksConfig(Block):
    """From clusters to regions."""

    features: Name | None = Field(
        None,
        description="named features whose pixels are assigned to clusters, e.g. the clustered "
        "features at another long_side; null: the clustered features",
    )
    superpixels: Annotated[Literal["felzenszwalb", "off"], Unquoted] = Field(
        "felzenszwalb", description="superpixels of the majority vote"
    )
    scale: Annotated[float, Field(gt=0)] = Field(
        100.0, description="Felzenszwalb scale, larger gives larger superpixels"
    )
    sigma: Annotated[float, Field(ge=0)] = Field(0.8, description="Felzenszwalb smoothing, px")
    min_size: PositiveInt = Field(200, description="Felzenszwalb smallest superpixel, px")
    min_area: PositiveInt = Field(2048, description="smallest valid region, px")
