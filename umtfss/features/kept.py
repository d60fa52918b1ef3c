"""Kept features: computed once for each image, then read from a folder."""

import zipfile
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from umtfss.backbones.extractor import Extractor
from umtfss.common.digests import digest_json
from umtfss.common.files import atomic_path
from umtfss.data.image_source import ImageSource
from umtfss.features.live import LiveFeatures


class KeptFeatures(LiveFeatures):
    """Live features, kept in a folder by the content of the image and all that decides them.

    Args:
        extractor: The backbone.
        catalog: Images by qualified id.
        long_side: Image long side, px.
        folder: Where features are kept, one file an image.
    """

    def __init__(
        self, extractor: Extractor, catalog: ImageSource, long_side: int, folder: Path
    ) -> None:
        super().__init__(extractor, catalog, long_side)
        self.folder = folder

    def _compute(self, image_id: str) -> dict[str, np.ndarray]:
        path = self._path(self.catalog.image(image_id))
        try:
            with np.load(path) as kept:
                return dict(kept)
        except (OSError, EOFError, ValueError, zipfile.BadZipFile):  # absent, or damaged
            levels: dict[str, Any] = super()._compute(image_id)
        with atomic_path(path) as temporary:
            np.savez(temporary, **levels)
        return levels

    def _path(self, image: np.ndarray) -> Path:
        extractor = self.extractor
        backbone = [extractor.name, extractor.digest, extractor.mirrored]
        made_with = [*backbone, sorted(extractor.channels), self.long_side]
        pixels = sha256(np.ascontiguousarray(image).data).hexdigest()
        return self.folder / f"{digest_json([made_with, image.shape, pixels])}.npz"
