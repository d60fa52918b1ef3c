"""ASNet: attentive squeeze of correlations (arXiv:2203.12615), trained to segment alone.

Shapes: B batch, K shots, h w feature grid, n m support grid.
"""

from collections.abc import Sequence

from torch import Tensor, nn

from umtfss.experiment.model import ModelConfig
from umtfss.models.correlation_learner import WIDTH, CorrelationLearner
from umtfss.models.layers.attentive_squeeze import AttentiveSqueeze
from umtfss.models.layers.correlation import Correlations, level_groups, support_mean

NARROW = 32


class ASNet(CorrelationLearner):
    """Correlations of all levels, squeezed over the support by attention.

    Each group of levels is squeezed twice; support sides of 24 become 6 and 2, of 30 become 8 and
    2. The deeper group's mean over the support is added to the next shallower group and mixed.
    Support features are not masked; the mask hides keys.

    Three more things differ from the release than `CorrelationLearner` says. Every group has the
    layers of the published shallower groups, as all grids are equal. The mask of a coarse cell is
    the largest foreground part in it. The integrative objective, which classifies, too, is left
    out.

    Args:
        settings: The model block of an experiment.
        mid_channels: Channels of each level of the mid feature.
    """

    mask_support = False

    def __init__(self, settings: ModelConfig, mid_channels: Sequence[int]) -> None:
        super().__init__(settings, mid_channels)
        groups = level_groups(mid_channels)
        self.squeeze = nn.ModuleList(map(squeezing_layers, groups))
        self.mix = nn.ModuleList(mixing_layers() for _ in groups[1:])

    def squeezed(self, found: Correlations) -> Tensor:
        """The mixed groups, averaged over the support, (B * K, h, w, 128)."""
        query_valid, mixed = found.query_valid, None
        mixing = iter(self.mix)
        for layers, group in zip(reversed(self.squeeze), reversed(found.groups), strict=True):
            grid, valid, mask = group, found.support_valid, found.support_mask
            for layer in layers.children():
                grid, valid, mask = layer(grid, query_valid, valid, mask)
            if mixed is not None:
                grid = grid + mixed[:, :, :, None, None] * valid[:, None, None, :, :, None]
                for layer in next(mixing).children():
                    grid, valid, mask = layer(grid, query_valid, valid, mask)
            mixed = support_mean(grid, valid)
        assert mixed is not None
        return mixed


def squeezing_layers(levels: int) -> nn.ModuleList:
    """The layers of a group of levels; the release has them for layers 2 and 3 of a ResNet."""
    return nn.ModuleList(
        [
            AttentiveSqueeze(levels, NARROW, 5, 4, pooled=True),
            AttentiveSqueeze(NARROW, WIDTH, 5, 4, pooled=True),
        ]
    )


def mixing_layers() -> nn.ModuleList:
    """The layers that mix a group with the deeper ones."""
    return nn.ModuleList(AttentiveSqueeze(WIDTH, WIDTH, side, 1, pooled=False) for side in (1, 2))
