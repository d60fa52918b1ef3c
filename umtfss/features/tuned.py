"""Tuned features: those of a backbone whose last blocks a run has trained.

They are computed when they are read, of levels that are frozen. Shapes: h w grid, M channels of the
levels that the tuned backbone reads beside C channels of the level that it changes.
"""

from collections.abc import Callable, Sequence
from threading import Lock

import numpy as np
import torch
from torch import Tensor

from umtfss.errors import StoreError
from umtfss.features.store import FeatureSource, FeatureStore
from umtfss.runs import TUNED

GEOMETRY = ("long_side", "stride", "multiple", "align_corners")


class Beside:
    """Several sources of the same images read as one, each for the levels that it has.

    Args:
        sources: At least one.

    Raises:
        StoreError: Their grids differ.
    """

    def __init__(self, sources: Sequence[FeatureSource]) -> None:
        first = sources[0]
        self.source_of = {level: one for one in reversed(sources) for level in one.channels}
        self.channels = {level: one.channels[level] for level, one in self.source_of.items()}
        self.long_side, self.stride = first.long_side, first.stride
        self.multiple, self.align_corners = first.multiple, first.align_corners
        self.first = first
        for key in GEOMETRY:
            for other in sources[1:]:
                if getattr(other, key) != getattr(first, key):
                    raise StoreError(
                        f"{sorted(other.channels)} and {sorted(first.channels)} of an image were "
                        f"made with another {key}",
                        expected=getattr(first, key),
                        found=getattr(other, key),
                        fix="make both again: snakemake --cores all all_features",
                    )

    def grid(self, image_id: str) -> tuple[int, int]:
        """The image's un-padded grid (h, w)."""
        return self.first.grid(image_id)

    def image_size(self, image_id: str) -> tuple[int, int]:
        """The image's original (H, W), px."""
        return self.first.image_size(image_id)

    def read(self, image_id: str, level: str) -> np.ndarray:
        """One level of one image, (h, w, channels) float16."""
        return self.source_of[level].read(image_id, level)


def read_beside(manifests: Sequence[Sequence[str]]) -> FeatureStore | Beside:
    """The features of several caches of the same images, each given by its manifests."""
    stores = [FeatureStore(one) for one in manifests]
    return stores[0] if len(stores) == 1 else Beside(stores)


class TunedFeatures(Beside):
    """Features of a tuned backbone: the level "tuned", beside those that they are made of.

    Args:
        source: Features with the levels.
        mid: Levels that it reads, concatenated; the first is the stem.
        high: The level that it changes.
        tokens: Makes (1, T, h, w) tuned features of (1, M, h, w) and (1, C, h, w), where T is M + C
            less the channels of the stem.
        device: Where it runs.
    """

    def __init__(
        self,
        source: FeatureSource,
        mid: Sequence[str],
        high: str,
        tokens: Callable[[Tensor, Tensor], Tensor],
        device: torch.device | str = "cpu",
    ) -> None:
        super().__init__([source])
        self.mid, self.high, self.tokens, self.device = tuple(mid), high, tokens, device
        self.channels[TUNED] = sum(source.channels[one] for one in (*mid[1:], high))
        self._lock = Lock()  # a reading thread and the evaluation share it

    def read(self, image_id: str, level: str) -> np.ndarray:
        """The tuned features of an image, (h, w, T) float16, or another level of the source."""
        if level != TUNED:
            return super().read(image_id, level)
        with self._lock, torch.inference_mode():
            mid, high = (
                np.concatenate([self.read(image_id, one) for one in levels], axis=2)
                for levels in (self.mid, [self.high])
            )
            inputs = (
                torch.from_numpy(one).to(self.device, torch.float32).permute(2, 0, 1)[None]
                for one in (mid, high)
            )
            found = self.tokens(*inputs)[0].permute(1, 2, 0).half()
        return np.ascontiguousarray(found.cpu().numpy())
