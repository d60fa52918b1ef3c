"""Frozen feature extractors: from images to feature maps of named levels, all at one stride.

Shapes: B batch, C channels, H W original pixels, H' W' resized pixels, h w grid.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

import numpy as np
import torch
from torch import Tensor, nn
from torchvision.transforms.v2 import functional as transforms

from umtfss.backbones.resnet import ResNet
from umtfss.common.device import autocast
from umtfss.experiment.backbones import BackboneSpec


class Extractor(nn.Module):
    """A frozen backbone, always in evaluation mode: `train()` has no effect, on BatchNorm either.

    Attributes:
        spec: Geometry and origin.
        name: Name of the backbone.
        levels: The levels to return, in order.
        channels: Level -> C, of the levels to return.
        digest: sha256 of all the backbone's weights, whatever the levels.
        mirrored: Whether features are averaged over an image and its mirror image.
        precision: Autocast precision, "bf16" or "fp16"; None: that of the caller's context.
    """

    def __init__(
        self,
        spec: BackboneSpec,
        levels: Sequence[str],
        network: nn.Module,
        digest: str,
        mirrored: bool = False,
        precision: str | None = None,
    ) -> None:
        super().__init__()
        self.spec, self.name, self.digest, self.mirrored = spec, spec.name, digest, mirrored
        self.precision = precision
        self.levels = tuple(levels)
        self.channels = {level: spec.channels[level] for level in levels}
        self.network = network.to(memory_format=torch.channels_last)  # faster convolutions
        self.mean: Tensor
        self.std: Tensor
        for key in ("mean", "std"):
            value = torch.tensor(getattr(spec, key)).view(1, 3, 1, 1)
            self.register_buffer(key, value, persistent=False)
        self.requires_grad_(False)
        self.eval()

    def train(self, mode: bool = True) -> "Extractor":
        """Stay in evaluation mode."""
        return super().train(False)

    @torch.no_grad()
    def forward(self, images: Tensor, read: Tensor | None = None) -> dict[str, Tensor]:
        """Level -> (B, C, h, w).

        Args:
            images: (B, 3, H', W') float RGB in [0, 1].
            read: (B, h, w) bool, tokens at which the deepest level is read; its values at others
                have no meaning, and a network that can leaves them out. None: all tokens.

        Raises:
            ValueError: A side does not fit the backbone.
        """
        extra, multiple = int(self.spec.align_corners), self.spec.multiple
        if any((side - extra) % multiple for side in images.shape[2:]):
            raise ValueError(
                f"{self.name} expected sides of {multiple} k{' + 1' if extra else ''} px, "
                f"but got {tuple(images.shape[2:])}"
            )
        images = (images - self.mean) / self.std
        images = images.contiguous(memory_format=torch.channels_last)
        context: AbstractContextManager = nullcontext()
        if self.precision is not None:
            context = autocast(images.device, self.precision)
        with context:
            if read is not None and isinstance(self.network, ResNet) and not self.mirrored:
                found = self.network(images, read)
            else:
                found = self.network(images)
            if not self.mirrored:
                return {level: found[level] for level in self.levels}
            other = self.network(images.flip(3))
        return {level: (found[level] + other[level].flip(3)) / 2 for level in self.levels}

    def resized(self, height: int, width: int, long_side: int) -> tuple[int, int]:
        """The size (H', W') at which the backbone sees an image of H x W px."""
        return self.spec.resized(height, width, long_side)

    def grid(self, height: int, width: int) -> tuple[int, int]:
        """The grid (h, w) of an image of H' x W' px."""
        return self.spec.grid(height, width)


def prepare_image(image: np.ndarray, extractor: Extractor | BackboneSpec, long_side: int) -> Tensor:
    """Resize an image for a backbone, (3, H', W') float32 in [0, 1].

    Resizing is bilinear with antialiasing; the result is rounded to 8 bits.

    Args:
        image: (H, W, 3) uint8 RGB.
        extractor: Decides which sides are valid.
        long_side: Long side, px.
    """
    size = extractor.resized(image.shape[0], image.shape[1], long_side)
    pixels = torch.tensor(image).permute(2, 0, 1)
    return transforms.resize(pixels, list(size), antialias=True).float() / 255
