"""The block `model`: the meta-learner."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from umtfss.experiment.block import Block, Fraction, PositiveInt

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


class ModelConfig(Block):
    """The meta-learner (protocol sections 4 and 7); every model takes the keys that it has."""

    preset: Literal["paper", "release"] = Field("paper", description="defaults of the other keys")
    width: PositiveInt = Field(256, description="model width d")
    layers: PositiveInt = Field(2, description="layers of each attention")
    heads: PositiveInt = Field(8, description="attention heads")
    ffn_ratio: PositiveInt = Field(3, description="hidden width of the FFN over d")
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
    layer_order: Literal["interleaved", "self_first"] = Field(
        "interleaved", description="umtfss: self- and cross-attention by turns, or all self first"
    )
    token_masks: Literal["area", "sampled"] = Field(
        "area",
        description="a token's label: of most of its area, or, as in the released code, of single "
        "pixels (umtfss, cyctr)",
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
    residual: Literal["none", "prototype", "centred"] = Field(
        "none",
        description="prototype: the training-free score is added to the logits; centred: and the "
        "model's own part has mean 0 over an image, so that the score's threshold stays; neither "
        "is in the paper",
    )
    self_support: bool = Field(
        False,
        description="the training-free score takes the query's own predicted tokens into its "
        "prototypes, once; not in the paper",
    )
    margin: Annotated[float, Field(ge=-2, le=2)] = Field(
        0.0,
        description="cosine by which the foreground prototype must be nearer in the training-free "
        "score; not in the paper",
    )
    superpixels: Fraction = Field(
        0.0,
        description="part of the tested score that is its mean over each superpixel of the query "
        "(those of pseudo_masks); not in the paper",
    )
    ignore_in_loss: bool = Field(
        True,
        description="leave label 255 out of the dice loss; false: predictions there stay in its "
        "denominator, as in the released code (umtfss, cyctr)",
    )
    pyramid_scales: list[Annotated[float, Field(gt=0, le=1)]] = Field(
        default_factory=lambda: [1.0, 1 / 2, 1 / 4, 2 / 15],
        min_length=1,
        description="pfenet: grids of feature enrichment, finest first, over the token grid",
    )
    cycle_tokens: PositiveInt = Field(
        300, description="cyctr: tokens sampled from fg and from bg, times the number of shots"
    )
    cycle_tokens_vary: bool = Field(
        True,
        description="cyctr: training scales cycle_tokens by U(0.6, 4), of several shots by "
        "U(0.6, 1.4), and draws anew for each layer",
    )
    cycle_spared: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.1, description="cyctr: part of the inconsistent tokens that training lets through"
    )

    def changed(self, overrides: Mapping[str, Any]) -> "ModelConfig":
        """The block with other values of some keys; another `preset` sets all of its keys."""
        preset = UMTFSS_PRESETS[overrides["preset"]] if "preset" in overrides else {}
        return ModelConfig.model_validate({**self.model_dump(), **preset, **overrides})

    @model_validator(mode="before")
    @classmethod
    def _apply_preset(cls, data: Any) -> Any:
        if isinstance(data, dict):
            return {**UMTFSS_PRESETS.get(data.get("preset", "paper"), {}), **data}
        return data

    @model_validator(mode="after")
    def _check_heads(self) -> "ModelConfig":
        if self.width % self.heads or self.width % 4:
            raise ValueError(f"width {self.width} must be a multiple of 4 and of heads")
        return self
