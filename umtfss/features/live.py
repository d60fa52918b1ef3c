"""Live features: computed when they are read, without a cache."""

from threading import Lock

import numpy as np
from torch import Tensor

from umtfss.backbones.extractor import Extractor, prepare_image
from umtfss.data.image_source import ImageSource
from umtfss.features.geometry import GridGeometry


class LiveFeatures:
    """Features that are computed when they are read, with the interface of a store.

    Args:
        extractor: The backbone.
        catalog: Images by qualified id.
        long_side: Image long side, px.
    """

    def __init__(self, extractor: Extractor, catalog: ImageSource, long_side: int) -> None:
        self.extractor, self.catalog, self.long_side = extractor, catalog, long_side
        spec = extractor.spec
        self.geometry = GridGeometry(
            extractor.channels, long_side, spec.stride, spec.multiple, spec.align_corners
        )
        self._sizes: dict[str, tuple[int, int]] = {}
        self._latest: tuple[str, dict[str, np.ndarray]] = "", {}
        self._lock = Lock()  # a reading thread and the evaluation share this object

    def grid(self, image_id: str) -> tuple[int, int]:
        """The image's grid (h, w)."""
        size = self.extractor.resized(*self.image_size(image_id), self.long_side)
        return self.extractor.grid(*size)

    def image_size(self, image_id: str) -> tuple[int, int]:
        """The image's original (H, W), px."""
        if image_id not in self._sizes:
            height, width = self.catalog.image(image_id).shape[:2]
            self._sizes[image_id] = height, width
        return self._sizes[image_id]

    def read(self, image_id: str, level: str) -> np.ndarray:
        """One level of one image, (h, w, C) float16; levels of one image are computed together."""
        with self._lock:
            if self._latest[0] != image_id:
                self._latest = image_id, self._compute(image_id)
            return self._latest[1][level]

    def _compute(self, image_id: str) -> dict[str, np.ndarray]:
        image = self.catalog.image(image_id)
        self._sizes[image_id] = image.shape[0], image.shape[1]
        levels = self.extractor(self._pixels(image)[None].to(self.extractor.mean.device))
        return {
            name: np.ascontiguousarray(level[0].permute(1, 2, 0).half().cpu().numpy())
            for name, level in levels.items()
        }

    def _pixels(self, image: np.ndarray) -> Tensor:
        """The image as the backbone sees it, (3, H', W') float32 in [0, 1]."""
        return prepare_image(image, self.extractor, self.long_side)
