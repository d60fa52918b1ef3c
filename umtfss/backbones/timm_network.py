"""A network of the library timm, with its levels at one stride.

Shapes: B batch, C channels, H W pixels, h w grid.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from umtfss.backbones.weights import State, tensors
from umtfss.experiment.backbones import BackboneSpec
from umtfss.experiment.timm_backbones import create_network, intermediates


class TimmNetwork(nn.Module):
    """Intermediate features of chosen levels.

    Args:
        spec: The network's spec.
        levels: Some of the spec's levels, such as "level2".
    """

    def __init__(self, spec: BackboneSpec, levels: Sequence[str]) -> None:
        super().__init__()
        order = list(spec.channels)
        self.levels = tuple(sorted(set(levels), key=order.index))
        self.indices = [order.index(level) for level in self.levels]
        self.stride, self.aligned = spec.stride, spec.align_corners
        self.network: Any = create_network(spec.name)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Level -> (B, C, h, w) of normalised images (B, 3, H, W)."""
        grid = [-(-side // self.stride) for side in images.shape[2:]]
        found = intermediates(self.network, images, self.indices)
        return {
            level: _to_grid(one, grid, self.aligned)
            for level, one in zip(self.levels, found, strict=True)
        }

    def renamed(self, content: Mapping[str, object]) -> State:
        """The weights of a checkpoint of timm without the head."""
        whole = content.get("state_dict", content)
        head = self.network.pretrained_cfg.get("classifier") or ()
        heads = tuple(f"{name}." for name in ((head,) if isinstance(head, str) else head))
        state = tensors(whole if isinstance(whole, Mapping) else content)
        return {name: one for name, one in state.items() if not name.startswith(heads)}


def _to_grid(x: Tensor, grid: Sequence[int], aligned: bool) -> Tensor:
    """Bring a level to a grid: average around each token, or interpolate a coarser level."""
    while x.shape[2] > grid[0]:
        x = F.avg_pool2d(x, 3, 2, 1, count_include_pad=False) if aligned else F.avg_pool2d(x, 2)
    if x.shape[2] < grid[0]:
        return F.interpolate(x, list(grid), mode="bilinear", align_corners=aligned)
    return x
