"""Parts that several meta-learners build from the model block of an experiment.

As in the releases, only norms, logits and sampling points have a bias.

Shapes: B batch, d model width, h w feature grid.
"""

from torch import Tensor, nn

from umtfss.experiment.model import FFN_RATIO, ModelConfig
from umtfss.models.layers.attention import SelfAttention, TransformerBlock
from umtfss.models.layers.deformable_attention import DeformableAttention


def projection(channels: int, width: int, dropout: float) -> nn.Sequential:
    """A 1x1 convolution to the model's width, ReLU, and dropout of whole channels."""
    return nn.Sequential(
        nn.Conv2d(channels, width, 1, bias=False), nn.ReLU(inplace=True), nn.Dropout2d(dropout)
    )


def classifier(width: int, dropout: float) -> nn.Sequential:
    """A 3x3 convolution, ReLU, dropout of whole channels, and a 1x1 convolution to two logits."""
    return nn.Sequential(
        nn.Conv2d(width, width, 3, padding=1, bias=False),
        nn.ReLU(inplace=True),
        nn.Dropout2d(dropout),
        nn.Conv2d(width, 2, 1),
    )


def transformer_block(attention: nn.Module, settings: ModelConfig) -> TransformerBlock:
    """The attention with its feed-forward network, norms and dropout."""
    return TransformerBlock(attention, settings.width, FFN_RATIO, settings.dropout)


def self_attention_block(settings: ModelConfig) -> TransformerBlock:
    """A transformer block with the self-attention that the settings name."""
    if settings.self_attention == "vanilla":
        attention: nn.Module = SelfAttention(
            settings.width, settings.heads, settings.attention_dropout
        )
    else:
        attention = DeformableAttention(
            settings.width,
            settings.heads,
            settings.deformable_points,
            settings.attention_dropout,
        )
    return transformer_block(attention, settings)


def to_tokens(features: Tensor) -> Tensor:
    """The tokens of a (B, d, h, w) map, (B, h * w, d); no copy if the map is channels-last."""
    return features.permute(0, 2, 3, 1).flatten(1, 2)


class ResidualConvolutions(nn.Module):
    """Two 3x3 convolutions, each with ReLU, and a skip connection.

    Args:
        width: d.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.second = nn.Conv2d(width, width, 3, padding=1, bias=False)

    def forward(self, grid: Tensor, inside: Tensor) -> Tensor:
        """The refined grid, (B, h, w, d).

        Args:
            grid: (B, h, w, d).
            inside: (B, h, w, 1) bool, False where convolutions see zeros.
        """
        hidden = self.first((grid * inside).permute(0, 3, 1, 2)).relu()
        hidden = self.second(hidden * inside.permute(0, 3, 1, 2)).relu()
        return grid + hidden.permute(0, 2, 3, 1)


def classify(head: nn.Module, grid: Tensor, inside: Tensor) -> Tensor:
    """The logits of a grid, (B, 2, h, w); the head sees zeros outside.

    Args:
        head: A `classifier`.
        grid: (B, h, w, d).
        inside: (B, h, w, 1) bool, False where the head sees zeros.
    """
    logits: Tensor = head((grid * inside).permute(0, 3, 1, 2))
    return logits
