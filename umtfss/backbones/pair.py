"""Two frozen backbones as one: a ViT's tokens beside a convolutional network's semantics.

On one-shot matching the two err differently: the ViT's tokens (self-supervised) find parts and
borders, the convolutional features (ImageNet supervised, as the paper's ResNet-50 is) find classes.

Shapes: B batch, C channels, H W pixels, h w the ViT's grid.
"""

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from umtfss.experiment.backbones import FUSED, ZOOM

if TYPE_CHECKING:
    from umtfss.backbones.extractor import Extractor


class Pair(nn.Module):
    """The ViT's own levels, and "fused": both networks' deepest levels at the ViT's tokens.

    Each part of "fused" is L2-normalised by itself, so that a cosine of fused features is the mean
    of the two cosines, whatever the scales (nearly so of mirrored ones, which are means of two).

    Both see the image that is given, the ViT at half its size: its tokens are finer in pixels, and
    the convolutional network's stride of 32 px then is near to theirs.

    Args:
        tokens: The ViT.
        maps: The convolutional network, cut at one level; none: "fused" is not asked for.
    """

    def __init__(self, tokens: "Extractor", maps: "Extractor | None") -> None:
        super().__init__()
        self.tokens, self.maps = tokens, maps

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Level -> (B, C, h, w) of images (B, 3, H, W) in [0, 1], sides multiples of 28."""
        sides = images.shape[2:]
        found = self.tokens(_resize(images, [side // ZOOM for side in sides]))
        if self.maps is None:
            return found
        deepest = found[self.tokens.levels[-1]]
        larger = _resize(images, [self.maps.spec.nearest_side(side) for side in sides])
        (semantic,) = self.maps(larger).values()
        semantic = at_patch_centres(semantic, deepest.shape[2:])
        fused = torch.cat([F.normalize(deepest, dim=1), F.normalize(semantic, dim=1)], 1)
        return {**found, FUSED: fused}


def _resize(images: Tensor, size: list[int]) -> Tensor:
    return F.interpolate(images, size, mode="bilinear", align_corners=False, antialias=True)


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
