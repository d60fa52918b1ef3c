"""Tuned features: those of a backbone whose last blocks a run has trained.

They are computed when they are read, of what is frozen: the level that the blocks read (the stem)
and the level that they lead to. Shapes: C channels, D width of the ViT, h w grid.
"""

from collections.abc import Callable
from threading import Lock

import numpy as np
import torch
from torch import Tensor

from umtfss.errors import StoreError
from umtfss.features.store import FeatureSource

Tokens = Callable[[Tensor, Tensor], Tensor]


class Beside:
    """Two caches of the same images read as one: the frozen level and the stem.

    Args:
        frozen: Features with the level, and its geometry.
        stem: Features with the stem.

    Raises:
        StoreError: Their grids differ.
    """

    def __init__(self, frozen: FeatureSource, stem: FeatureSource) -> None:
        self.frozen, self.stem = frozen, stem
        self.channels = {**stem.channels, **frozen.channels}
        self.long_side, self.stride = frozen.long_side, frozen.stride
        self.multiple, self.align_corners = frozen.multiple, frozen.align_corners
        for key in ("long_side", "stride", "multiple", "align_corners"):
            if getattr(stem, key) != getattr(frozen, key):
                raise StoreError(
                    f"the stem was made with another {key} than the features beside it",
                    expected=getattr(frozen, key),
                    found=getattr(stem, key),
                    fix="make both again: snakemake --cores all all_features",
                )

    def grid(self, image_id: str) -> tuple[int, int]:
        """The image's un-padded grid (h, w)."""
        return self.frozen.grid(image_id)

    def image_size(self, image_id: str) -> tuple[int, int]:
        """The image's original (H, W), px."""
        return self.frozen.image_size(image_id)

    def read(self, image_id: str, level: str) -> np.ndarray:
        """One level of one image, (h, w, channels) float16."""
        source = self.frozen if level in self.frozen.channels else self.stem
        return source.read(image_id, level)


class TunedFeatures:
    """Features in whose place stand those of a tuned backbone, under the same name.

    Args:
        source: Features with both levels.
        level: The level.
        stem: The level that the tuned blocks read.
        tokens: Makes (1, C, h, w) tuned features of (1, D, h, w) and (1, C, h, w).
        device: Where it runs.
    """

    def __init__(
        self,
        source: FeatureSource,
        level: str,
        stem: str,
        tokens: Tokens,
        device: torch.device | str = "cpu",
    ) -> None:
        self.source, self.level, self.stem = source, level, stem
        self.tokens, self.device = tokens, device
        self.channels = {level: source.channels[level]}
        self.long_side, self.stride = source.long_side, source.stride
        self.multiple, self.align_corners = source.multiple, source.align_corners
        self._lock = Lock()  # a reading thread and the evaluation share it

    def grid(self, image_id: str) -> tuple[int, int]:
        """The image's un-padded grid (h, w)."""
        return self.source.grid(image_id)

    def image_size(self, image_id: str) -> tuple[int, int]:
        """The image's original (H, W), px."""
        return self.source.image_size(image_id)

    def read(self, image_id: str, level: str) -> np.ndarray:
        """The tuned features of an image, (h, w, C) float16."""
        with self._lock, torch.inference_mode():
            stem, frozen = (
                torch.from_numpy(self.source.read(image_id, one))
                .to(self.device, torch.float32)
                .permute(2, 0, 1)[None]
                for one in (self.stem, level)
            )
            found = self.tokens(stem, frozen)[0].permute(1, 2, 0).half()
        return np.ascontiguousarray(found.cpu().numpy())
