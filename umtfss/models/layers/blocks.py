"""Parts that several meta-learners build from the model block of an experiment.

Shapes: B batch, d model width, h w feature grid.
"""

from torch import Tensor, nn

from umtfss.config import ModelConfig
from umtfss.linear import Pointwise
from umtfss.models.layers.attention import SelfAttention, TransformerBlock
from umtfss.models.layers.deformable_attention import DeformableAttention


def projection(channels: int, width: int, dropout: float) -> nn.Sequential:
    """A 1x1 convolution to the model's width, ReLU, and dropout of whole channels."""
    return nn.Sequential(Pointwise(channels, width), nn.ReLU(inplace=True), nn.Dropout2d(dropout))


def classifier(width: int, dropout: float) -> nn.Sequential:
    """A 3x3 convolution, ReLU, dropout of whole channels, and a 1x1 convolution to two logits."""
    return nn.Sequential(
        nn.Conv2d(width, width, 3, padding=1),
        nn.ReLU(inplace=True),
        nn.Dropout2d(dropout),
        Pointwise(width, 2),
    )


def transformer_block(attention: nn.Module, settings: ModelConfig) -> TransformerBlock:
    """The attention with its feed-forward network, norms and dropout."""
    return TransformerBlock(attention, settings.width, settings.ffn_ratio, settings.dropout)


def self_attention_block(settings: ModelConfig) -> TransformerBlock:
    """A block of the self-attention that the settings name."""
    if settings.self_attention == "vanilla":
        return transformer_block(SelfAttention(settings.width, settings.heads), settings)
    attention = DeformableAttention(settings.width, settings.heads, settings.deformable_points)
    return transformer_block(attention, settings)


def to_tokens(features: Tensor) -> Tensor:
    """(B, h * w, d) tokens of a (B, d, h, w) map; free of copies where the map is channels-last."""
    return features.permute(0, 2, 3, 1).flatten(1, 2)
