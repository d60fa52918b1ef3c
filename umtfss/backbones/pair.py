"""Two frozen backbones as one: the tokens of a ViT beside the maps of a convolutional network.

In one-shot matching the two networks make different errors. The self-supervised tokens of the ViT
find parts and borders; the convolutional features, supervised on ImageNet like the paper's
ResNet-50, find classes.

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
    """The levels of the ViT, and "fused": the deepest levels of both networks at the ViT's tokens.

    Each half of "fused" is L2-normalised, so the cosine of two fused tokens is the mean of the two
    networks' cosines, whatever their scales. For mirrored features, which are means of two tokens,
    this holds nearly.

    The convolutional network sees the image at full size, the ViT at half size. The stride of the
    convolutional network, 32 px, is then close to the 28 px of the ViT.

    Args:
        tokens: The ViT.
        maps: The convolutional network, cut at one level; None: "fused" is not returned.
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
    """Interpolate corner-aligned maps at the centres of the patches of a grid.

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
