"""Live features: computed when they are read, without a cache that outlives the process."""

import logging
import shutil
import tempfile
from threading import Lock

import numpy as np
from torch import Tensor

from umtfss.backbones.extractor import Extractor, prepare_image
from umtfss.data.image_source import ImageSource
from umtfss.features.geometry import GridGeometry

logger = logging.getLogger(__name__)


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


class KeptFeatures:
    """Live features that are computed once an image, and kept in a temporary file.

    Dilated ResNet-50 features take 26 MB an image, so memory holds few. The system keeps the file
    in free memory and writes it to disk where memory is short; it vanishes with the process. The
    file takes at most half of the disk's free space. Further images are computed at every read.

    Args:
        features: The live features.
        folder: Folder of the file; None: the system's for temporary files ($TMPDIR).
    """

    def __init__(self, features: LiveFeatures, folder: str | None = None) -> None:
        self.features, self.geometry = features, features.geometry
        self._folder = folder or tempfile.gettempdir()
        self._file = tempfile.TemporaryFile(dir=self._folder)  # noqa: SIM115  # kept open
        self._room = shutil.disk_usage(self._folder).free // 2
        self._places: dict[tuple[str, str], tuple[int, tuple[int, ...]]] = {}
        self._end = 0
        self._lock = Lock()  # a reading thread and the evaluation share this object

    def grid(self, image_id: str) -> tuple[int, int]:
        """The image's grid (h, w)."""
        return self.features.grid(image_id)

    def image_size(self, image_id: str) -> tuple[int, int]:
        """The image's original (H, W), px."""
        return self.features.image_size(image_id)

    def read(self, image_id: str, level: str) -> np.ndarray:
        """One level of one image, (h, w, C) float16."""
        with self._lock:
            if (image_id, level) not in self._places:
                levels = {one: self.features.read(image_id, one) for one in self.geometry.channels}
                self._keep(image_id, levels)
                return levels[level]
            offset, shape = self._places[image_id, level]
            values = np.empty(shape, np.float16)
            self._file.seek(offset)
            self._file.readinto(values.data.cast("B"))
            return values

    def _keep(self, image_id: str, levels: dict[str, np.ndarray]) -> None:
        """Append the levels of an image, if there is room."""
        size = sum(values.nbytes for values in levels.values())
        free = shutil.disk_usage(self._folder).free  # others may fill the disk, too
        if self._end + size > self._room or size > free:
            if self._room:
                logger.warning(
                    "half of the free disk at %s holds the features of %d images; others are "
                    "computed at every read; set TMPDIR to a larger disk",
                    self._folder,
                    len(self._places) // len(levels),
                )
            self._room = 0
            return
        self._file.seek(self._end)
        for level, values in levels.items():
            self._file.write(values.data.cast("B"))
            self._places[image_id, level] = self._end, values.shape
            self._end += values.nbytes
