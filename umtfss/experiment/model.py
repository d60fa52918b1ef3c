"""The block `model`: the meta-learner."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from umtfss.experiment.block import Block, Fraction, Name, PositiveInt, narrowed

MATCHER = "prototype"  # the training-free model, whose score a `residual` adds
FFN_RATIO = 3  # hidden width of a feed-forward network over d, in the paper and in the releases

# Preset -> values of keys, which are named without their sub-block.
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
    """Keys that UMTFSS alone reads (protocol section 4)."""

    layer_order: Literal["interleaved", "self_first"] = Field(
        "interleaved", description="self- and cross-attention by turns, or all self first"
    )
    support_self_attention: Literal["live", "dead"] = Field(
        "live", description="dead: its result is thrown away, as in the released code"
    )
    cross_attention: Literal["prototype", "vanilla"] = Field(
        "prototype", description="support tokens seen by the query: grouped (Eq. 6) or all (Eq. 1)"
    )
    vanilla_tokens: Annotated[int, Field(ge=0)] = Field(
        0, description="vanilla: tokens sampled from fg and from bg; 0 takes all"
    )
    k_fg: PositiveInt = Field(50, description="foreground prototypes K_fg")
    k_bg: PositiveInt = Field(100, description="background prototypes K_bg")
    hash_bits: PositiveInt = Field(32, le=62, description="bits b of the hash")
    hamming_iterations: PositiveInt = Field(10, description="iterations r of Hamming k-means")
    prototype_pool: Literal["mean", "sum"] = Field(
        "mean", description="mean, L2-normalised, or the plain sum of Eq. 5"
    )
    mask_empty_groups: bool = Field(
        True,
        description="keep groups that lost all tokens out of the attention; slots beyond the "
        "number of tokens always are",
    )


class CyCTRConfig(Block):
    """Keys that CyCTR alone reads."""

    cycle_tokens: PositiveInt = Field(
        300, description="tokens sampled from fg and from bg, times the number of shots"
    )
    cycle_tokens_vary: bool = Field(
        True,
        description="training scales cycle_tokens by U(0.6, 4), of several shots by U(0.6, 1.4), "
        "and draws anew for each layer",
    )
    cycle_spared: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.1, description="part of the inconsistent tokens that training lets through"
    )


class PFENetConfig(Block):
    """Keys that PFENet alone reads."""

    pyramid_scales: list[Annotated[float, Field(gt=0, le=1)]] = Field(
        default_factory=lambda: [1.0, 1 / 2, 1 / 4, 2 / 15],
        min_length=1,
        description="grids of feature enrichment, finest first, over the token grid",
    )


class PrototypeConfig(Block):
    """Keys of the training-free matcher, and so of every model with a `residual`."""

    self_support: bool = Field(
        False,
        description="the query's own predicted tokens join the prototypes, once; not in the paper",
    )
    margin: Annotated[float, Field(ge=-2, le=2)] = Field(
        0.0,
        description="cosine by which the foreground prototype must be nearer; not in the paper",
    )


class ModelConfig(Block):
    """The meta-learner (protocol sections 4 and 7): keys that models share, then each one's own."""

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
    token_masks: Literal["area", "sampled"] = Field(
        "area",
        description="a token's label: of most of its area, or, as in the released code, of single "
        "pixels",
    )
    position_code: Literal["centred", "counted"] = Field(
        "centred",
        description="a token's place: its centre, or, as in the released code, the tokens up to it",
    )
    padding: Literal["hidden", "seen"] = Field(
        "hidden",
        description="hidden: leaves no trace; seen: treated as image, as in the released code",
    )
    self_attention: Literal["deformable", "vanilla"] = Field(
        "deformable", description="deformable (released code) or multi-head (paper)"
    )
    deformable_points: PositiveInt = Field(9, description="sampling points per head")
    ignore_in_loss: bool = Field(
        True,
        description="leave label 255 out of the dice loss; false: predictions there stay in its "
        "denominator, as in the released code",
    )
    residual: Literal["none", "prototype", "centred"] = Field(
        "none",
        description="prototype: the training-free score is added to the logits; centred: and the "
        "model's own part has mean 0 over an image, so that the score's threshold stays; neither "
        "is in the paper",
    )
    umtfss: UMTFSSConfig = Field(default_factory=UMTFSSConfig, description="UMTFSS alone")
    cyctr: CyCTRConfig = Field(default_factory=CyCTRConfig, description="CyCTR alone")
    pfenet: PFENetConfig = Field(default_factory=PFENetConfig, description="PFENet alone")
    prototype: PrototypeConfig = Field(
        default_factory=PrototypeConfig, description="the training-free matcher"
    )

    def of_model(self, model: str) -> "ModelConfig":
        """The block as far as a model reads it: the sub-blocks of other models are the defaults.

        A training that is given this block depends on no key of another model. The
        training-free model reads no shared key.
        """
        if model == MATCHER:
            return ModelConfig(prototype=self.prototype)
        read, default = {model}, ModelConfig()
        if self.residual != "none":
            read.add(MATCHER)
        unread = {block: getattr(default, block) for block in sub_blocks() if block not in read}
        return narrowed(self, ModelConfig).model_copy(update=unread)

    def value(self, key: str) -> Any:
        """The value of a key, named without its sub-block."""
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
    """The meta-learner, and the features that it reads."""

    features: Name = Field(description="named features that the meta-learner reads")


def sub_blocks() -> dict[str, type[Block]]:
    """Model -> the class of its sub-block, of models that have keys of their own."""
    kinds = {name: field.annotation for name, field in ModelConfig.model_fields.items()}
    return {
        name: kind
        for name, kind in kinds.items()
        if isinstance(kind, type) and issubclass(kind, Block)
    }


def _block_of(key: str) -> str | None:
    """The sub-block that holds a key; none: a shared key, or an unknown one."""
    return next((name for name, kind in sub_blocks().items() if key in kind.model_fields), None)


def _nested(values: Mapping[str, Any]) -> dict[str, Any]:
    """Keys that are named without their sub-blocks, as they stand in the block."""
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
