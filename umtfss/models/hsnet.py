"""HSNet: hypercorrelation squeeze (arXiv:2104.01538).

Shapes: B batch, K shots, h w feature grid, n m support grid.
"""

from collections.abc import Sequence

from torch import Tensor, nn

from umtfss.experiment.model import ModelConfig
from umtfss.models.correlation_learner import WIDTH, CorrelationLearner
from umtfss.models.layers.center_pivot import Squeeze
from umtfss.models.layers.correlation import Correlations, level_groups, support_mean

CHANNELS = (16, 64, WIDTH)
KERNELS, STRIDES = (5, 3, 3), (4, 2, 2)  # support sides of 24 become 6, 3, 2; of 30: 8, 4, 2


class HSNet(CorrelationLearner):
    """Correlations of all levels, squeezed over the support by 4D convolutions.

    Each group of levels is squeezed, and the deeper group's result is added to the next shallower
    group's and mixed. The mean over the support positions is decoded on the query's grid.

    Two more things differ from the release than `CorrelationLearner` says. Every group has the
    kernels and strides of the published middle group, as all grids are equal. Group norms count
    valid pairs alone.

    Args:
        settings: The model block of an experiment.
        mid_channels: Channels of each level of the mid feature.
    """

    mask_support = True

    def __init__(self, settings: ModelConfig, mid_channels: Sequence[int]) -> None:
        super().__init__(settings, mid_channels)
        groups = level_groups(mid_channels)
        self.squeeze = nn.ModuleList(
            Squeeze((levels, *CHANNELS), KERNELS, STRIDES) for levels in groups
        )
        self.mix = nn.ModuleList(Squeeze((WIDTH,) * 4, (3, 3, 3), (1, 1, 1)) for _ in groups[1:])

    def squeezed(self, found: Correlations) -> Tensor:
        """The mixed groups, averaged over the support, (B * K, h, w, 128)."""
        query_valid = found.query_valid
        *shallower, (mixed, valid) = (
            squeeze(group, query_valid, found.support_valid)
            for squeeze, group in zip(self.squeeze, found.groups, strict=True)
        )
        for mix, (grid, _) in zip(self.mix, reversed(shallower), strict=True):
            mixed, _ = mix(mixed + grid, query_valid, valid)
        return support_mean(mixed, valid)
