"""Two frozen backbones as one: a ViT's tokens beside a convolutional network's semantics.

On one-shot matching the two err differently: the ViT's tokens (self-supervised) find parts and
borders, the convolutional features (ImageNet supervised, as the paper's ResNet-50 is) find classes.

Shapes: B batch, C channels, H W pixels, h w the ViT's grid.
"""

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

if TYPE_CHECKING:
    from umtfss.backbones.extractor import Extractor

FUSED = "fused"
ZOOM = 10 / 7  # of the image that the convolutional network sees: 480 px where the ViT has 336


class Pair(nn.Module):
    """The ViT's own levels, and "fused": both networks' deepest levels at the ViT's tokens.

    Each part of "fused" is L2-normalised by itself, so that a cosine of fused features is the mean
    of the two cosines, whatever the scales.

    Args:
        tokens: The ViT.
        maps: The convolutional network, cut at one level.
    """

    def __init__(self, tokens: "Extractor", maps: "Extractor") -> None:
        super().__init__()
        self.tokens, self.maps = tokens, maps

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Level -> (B, C, h, w) of images (B, 3, H, W) in [0, 1], sides as the ViT wants them."""
        found = self.tokens(images)
        deepest = found[self.tokens.levels[-1]]
        size = [self.maps.facts.nearest_side(round(ZOOM * side)) for side in images.shape[2:]]
        larger = F.interpolate(images, size, mode="bilinear", align_corners=False, antialias=True)
        (semantic,) = self.maps(larger).values()
        semantic = at_patch_centres(semantic, deepest.shape[2:])
        fused = torch.cat([F.normalize(deepest, dim=1), F.normalize(semantic, dim=1)], 1)
        return {**found, FUSED: fused}


def at_patch_centres(maps: Tensor, grid: torch.Size) -> Tensor:
    """Corner-aligned maps, interpolated where the centres of a grid's patches lie.

    Args:
        maps: (B, C, H, W), corners on the corners of the image.
        grid: (h, w).

    Returns:
        (B, C, h, w).
    """
    rows, columns = (
        (torch.arange(count, device=maps.device, dtype=torch.float32) + 0.5) * (2 / count) - 1
        for count in grid
    )
    places = torch.stack(torch.meshgrid(rows, columns, indexing="ij"), -1).flip(-1)
    places = places.expand(len(maps), -1, -1, -1).to(maps.dtype)
    return F.grid_sample(maps, places, padding_mode="border", align_corners=True)
