"""The block `clustering`: pixel k-means."""

from pydantic import Field

from umtfss.experiment.block import Block, Name, PositiveInt


class ClusteringConfig(Block):
    """Pixel k-means."""

    features: Name | None = Field(
        None, description="named features that are clustered; null: the model's features"
    )
    subset_images: PositiveInt = Field(
        20_000, description="number of random images that k-means sees"
    )
    memory_vectors: PositiveInt = Field(
        1_000_000, description="vectors in memory for Lloyd's iterations"
    )
    iterations: PositiveInt = Field(30, description="Lloyd's iterations on the vectors in memory")
    seed: int = Field(0, description="seed of the image subset and of the initial centroids")
