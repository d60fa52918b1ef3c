"""The images of test episodes: labels, features, superpixels."""

from collections import OrderedDict
from collections.abc import Callable
from threading import RLock
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from umtfss.episodes.masks import LabelledImages
from umtfss.features.store import FeatureSource

Read = TypeVar("Read")


class EpisodeImages:
    """Features and labels of test images, with a cache in memory.

    One object serves all folds and seeds, as feature source and as catalog.

    Args:
        catalog: Labels by qualified image id.
        store: Features by qualified image id.
        memory_mb: Size of the cache, MB; the least recently used values are dropped first.
        read_superpixels: Reads the superpixels of an image, (H, W) int; None if no step of
            `RefineConfig` reads superpixels.
    """

    def __init__(
        self,
        catalog: LabelledImages,
        store: FeatureSource,
        memory_mb: int = 1536,
        read_superpixels: Callable[[str], np.ndarray] | None = None,
    ) -> None:
        self.catalog, self.store, self._read_superpixels = catalog, store, read_superpixels
        self.geometry = store.geometry
        self._kept: OrderedDict[tuple[str, str], np.ndarray] = OrderedDict()
        self._room = memory_mb * 2**20
        self._lock = RLock()  # a reading thread and the evaluation share this object
        self._on_devices: dict[torch.device, DeviceFeatures] = {}

    def on(self, device: torch.device | str) -> "DeviceFeatures":
        """The features for a model on a device; they stay there for all folds and seeds."""
        device = torch.device(device)
        if device not in self._on_devices:
            self._on_devices[device] = DeviceFeatures(self, device, room_on(device))
        return self._on_devices[device]

    def grid(self, image_id: str) -> tuple[int, int]:
        """The image's un-padded grid (h, w)."""
        return self.store.grid(image_id)

    def image_size(self, image_id: str) -> tuple[int, int]:
        """The image's original (H, W), px."""
        return self.store.image_size(image_id)

    def read(self, image_id: str, level: str) -> np.ndarray:
        """One level of one image, (h, w, C) float16."""
        return self._get((image_id, level), lambda: self.store.read(image_id, level))

    def read_anew(self, image_id: str, level: str) -> np.ndarray:
        """One level of one image, (h, w, C) float16; not cached."""
        with self._lock:
            return self.store.read(image_id, level)

    def image(self, qualified: str) -> np.ndarray:
        """The image, (H, W, 3) uint8 RGB; not cached."""
        return self.catalog.image(qualified)

    def mask(self, qualified: str) -> np.ndarray:
        """The class of every pixel, (H, W) uint8."""
        return self._get((qualified, ""), lambda: self.catalog.mask(qualified))

    def superpixels(self, qualified: str) -> np.ndarray:
        """The superpixel of every pixel, (H, W) int."""
        read = self._read_superpixels
        assert read is not None  # given whenever a step reads superpixels
        return self._get((qualified, "superpixels"), lambda: read(qualified))

    def _get(self, key: tuple[str, str], load: Callable[[], np.ndarray]) -> np.ndarray:
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
            value = load()
            self._kept[key] = value
            self._room -= value.nbytes
            while self._room < 0:
                self._room += self._kept.popitem(last=False)[1].nbytes
            return value


class DeviceFeatures:
    """Features that stay on a device in half precision, while there is room.

    Features without room stay on the host and are copied for every episode.

    Args:
        images: The images.
        device: The device of the model.
        room: Bytes for features on the device.
    """

    def __init__(self, images: EpisodeImages, device: torch.device, room: int) -> None:
        self.images, self.geometry, self.device = images, images.geometry, device
        self._room = room
        self._kept: dict[tuple[str, str], Tensor] = {}

    @property
    def nbytes(self) -> int:
        """Bytes of the features on the device."""
        return sum(value.nbytes for value in self._kept.values())

    def grid(self, image_id: str) -> tuple[int, int]:
        """The image's un-padded grid (h, w)."""
        return self.images.grid(image_id)

    def read(self, image_id: str, level: str) -> np.ndarray | Tensor:
        """One level of one image, (h, w, C) float16: a tensor on the device, or a host's array."""
        key = image_id, level
        if key not in self._kept:
            if self._room <= 0:
                return self.images.read(image_id, level)
            values = self.images.read_anew(image_id, level)  # the host need not keep them, too
            self._room -= values.nbytes
            if self._room < 0:  # full: later features are the host's
                return values
            self._kept[key] = torch.tensor(values, device=self.device)
        return self._kept[key]


def room_on(device: torch.device) -> int:
    """The bytes that features may take on a device: half of a GPU's free memory, none of a CPU."""
    return torch.cuda.mem_get_info(device)[0] // 2 if device.type == "cuda" else 0
