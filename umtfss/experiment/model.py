"""The block `model`: the meta-learner."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from umtfss.experiment.block import Block, Fraction, Name, PositiveInt, narrowed

MATCHER = "prototype"  # the training-free model; `residual` adds its score to other models
FFN_RATIO = 3  # hidden width of a feed-forward network over d, as in the paper and the releases

# Preset -> key without its sub-block -> value.
UMTFSS_PRESETS: dict[str, dict[str, Any]] = {
    "paper": {},
    "release": {
        "k_fg": 20,
        "k_bg": 50,
        "mask_empty_groups": False,
        "support_self_attention": "dead",
        "ignore_in_loss": False,
        "token_masks": "sampled",
        "position_code": "counted",
        "padding": "seen",
        "attention_dropout": 0.1,
    },
}


class UMTFSSConfig(Block):
    """Keys that only UMTFSS reads."""

    layer_order: Literal["interleaved", "self_first"] = Field(
        "interleaved",
        description="alternate self- and cross-attention, or put all self-attention first",
    )
    support_self_attention: Literal["live", "dead"] = Field(
        "live", description="dead: the result is discarded, as in the released code"
    )
    cross_attention: Literal["prototype", "vanilla"] = Field(
        "prototype", description="the query attends to prototypes (Eq. 6) or to tokens (Eq. 1)"
    )
    vanilla_tokens: Annotated[int, Field(ge=0)] = Field(
        0, description="vanilla: tokens sampled from foreground and background each; 0: all tokens"
    )
    k_fg: PositiveInt = Field(50, description="foreground prototypes K_fg")
    k_bg: PositiveInt = Field(100, description="background prototypes K_bg")
    hash_bits: PositiveInt = Field(32, le=62, description="bits b of the hash")
    hamming_iterations: PositiveInt = Field(10, description="iterations r of Hamming k-means")
    prototype_pool: Literal["mean", "sum"] = Field(
        "mean", description="pooling of a group: the L2-normalised mean, or the sum of Eq. 5"
    )
    mask_empty_groups: bool = Field(
        True,
        description="mask groups that lost all their tokens; slots beyond the number of tokens are "
        "always masked",
    )


class CyCTRConfig(Block):
    """Keys that only CyCTR reads."""

    cycle_tokens: PositiveInt = Field(
        300, description="tokens per shot sampled from foreground and background each"
    )
    cycle_tokens_vary: bool = Field(
        True,
        description="scale cycle_tokens in training by U(0.6, 4), or by U(0.6, 1.4) for several "
        "shots, drawn for every layer",
    )
    cycle_spared: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.1, description="part of the inconsistent tokens that stays in training"
    )


class PFENetConfig(Block):
    """Keys that only PFENet reads."""

    pyramid_scales: list[Annotated[float, Field(gt=0, le=1)]] = Field(
        default_factory=lambda: [1.0, 1 / 2, 1 / 4, 2 / 15],
        min_length=1,
        description="sides of the grids of feature enrichment, over the side of the token grid",
    )


class BAMConfig(Block):
    """Keys that only BAM reads."""

    dilations: list[PositiveInt] = Field(
        default_factory=lambda: [6, 12, 18],
        min_length=1,
        description="dilations of the pyramid's 3x3 convolutions, tokens: about 0.1, 0.2 and 0.3 "
        "of the grid's side, e.g. [2, 5, 7] at 24 x 24",
    )


class PrototypeConfig(Block):
    """Keys of the training-free matcher, which every model with a `residual` reads, too."""

    self_support: bool = Field(
        False,
        description="add the query's own predicted tokens to the prototypes; not in the paper",
    )
    margin: Annotated[float, Field(ge=-2, le=2)] = Field(
        0.0,
        description="difference of cosines that foreground needs over background; not in the paper",
    )


class ModelConfig(Block):
    """The meta-learner: shared keys, and sub-blocks for some models."""

    preset: Literal["paper", "release"] = Field("paper", description="defaults of the other keys")
    width: PositiveInt = Field(256, description="model width d")
    layers: PositiveInt = Field(2, description="layers of each attention")
    heads: PositiveInt = Field(8, description="attention heads")
    dropout: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.1, description="dropout in the transformer"
    )
    attention_dropout: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.0,
        description="dropout of values and of attention weights (released code: 0.1); above 0, "
        "fused kernels are not used",
    )
    mid_dropout: Fraction = Field(0.5, description="Dropout2d after the mid projection")
    head_dropout: Fraction = Field(0.1, description="Dropout2d in the head")
    prior_scale: Annotated[float, Field(gt=0)] = Field(
        1.0,
        description="factor on the prior mask before its merge with the tokens; with 1, as in the "
        "releases, the prior mask is small against the tokens of a frozen backbone, and training "
        "hardly uses it; not in the paper",
    )
    token_masks: Literal["area", "sampled"] = Field(
        "area",
        description="a token's label: the label of most of its area, or of single pixels, as in "
        "the released code",
    )
    position_code: Literal["centred", "counted"] = Field(
        "centred",
        description="a token's position: its centre, or a count of tokens, as in the released code",
    )
    padding: Literal["hidden", "seen"] = Field(
        "hidden",
        description="hidden: padding has no effect; seen: padding is treated as image, as in the "
        "released code",
    )
    self_attention: Literal["deformable", "vanilla"] = Field(
        "deformable", description="deformable (released code) or multi-head (paper)"
    )
    deformable_points: PositiveInt = Field(9, description="sampling points per head")
    ignore_in_loss: bool = Field(
        True,
        description="leave label 255 out of the dice loss; false: predictions at label 255 stay in "
        "the denominator, as in the released code",
    )
    residual: Literal["none", "prototype", "centred"] = Field(
        "none",
        description="prototype: add the training-free score to the logits; centred: also shift the "
        "model's own logits to mean 0 over an image, which keeps the score's threshold; not in the "
        "paper",
    )
    umtfss: UMTFSSConfig = Field(default_factory=UMTFSSConfig, description="keys of UMTFSS")
    cyctr: CyCTRConfig = Field(default_factory=CyCTRConfig, description="keys of CyCTR")
    pfenet: PFENetConfig = Field(default_factory=PFENetConfig, description="keys of PFENet")
    bam: BAMConfig = Field(default_factory=BAMConfig, description="keys of BAM")
    prototype: PrototypeConfig = Field(
        default_factory=PrototypeConfig, description="keys of the training-free matcher"
    )

    def of_model(self, model: str) -> "ModelConfig":
        """The block with defaults in place of every key that a model does not read.

        A training that is given this block depends on no key of another model. The training-free
        model reads no shared key.
        """
        if model == MATCHER:
            return ModelConfig(prototype=self.prototype)
        read, default = {model}, ModelConfig()
        if self.residual != "none":
            read.add(MATCHER)
        unread = {block: getattr(default, block) for block in sub_blocks() if block not in read}
        return narrowed(self, ModelConfig).model_copy(update=unread)

    def value(self, key: str) -> Any:
        """The value of a key that is named without its sub-block."""
        block = _block_of(key)
        return getattr(self if block is None else getattr(self, block), key)

    def changed(self, overrides: Mapping[str, Any]) -> "ModelConfig":
        """The block with other values of some keys; another `preset` sets all of its keys.

        Args:
            overrides: Keys, named without their sub-blocks, and their values.
        """
        preset = UMTFSS_PRESETS[overrides["preset"]] if "preset" in overrides else {}
        own = self.model_dump(include=set(ModelConfig.model_fields))
        changes = _nested({**preset, **overrides})
        return ModelConfig.model_validate(_merged(own, changes))

    @model_validator(mode="before")
    @classmethod
    def _apply_preset(cls, data: Any) -> Any:
        if isinstance(data, dict):
            return _merged(_nested(UMTFSS_PRESETS.get(data.get("preset", "paper"), {})), data)
        return data

    @model_validator(mode="after")
    def _check_heads(self) -> "ModelConfig":
        if self.width % self.heads or self.width % 4:
            raise ValueError(f"width {self.width} must be a multiple of 4 and of heads")
        return self


class ModelBlock(ModelConfig):
    """The meta-learner and its features."""

    features: Name = Field(
        "", description="named features that the meta-learner reads; absent: the only ones"
    )


def sub_blocks() -> dict[str, type[Block]]:
    """Model -> the class of its sub-block, for models with keys of their own."""
    kinds = {name: field.annotation for name, field in ModelConfig.model_fields.items()}
    return {
        name: kind
        for name, kind in kinds.items()
        if isinstance(kind, type) and issubclass(kind, Block)
    }


def _block_of(key: str) -> str | None:
    """The sub-block that holds a key; None: the key is shared or unknown."""
    return next((name for name, kind in sub_blocks().items() if key in kind.model_fields), None)


def _nested(values: Mapping[str, Any]) -> dict[str, Any]:
    """Put keys that are named without their sub-blocks into the sub-blocks."""
    nested: dict[str, Any] = {}
    for key, value in values.items():
        block = _block_of(key)
        if block is None:
            nested[key] = value
        else:
            nested.setdefault(block, {})[key] = value
    return nested


def _merged(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with `changes`; sub-blocks that both have are merged."""
    both = {
        key: {**base[key], **value}
        for key, value in changes.items()
        if isinstance(value, dict) and isinstance(base.get(key), dict)
    }
    return {**base, **changes, **both}
