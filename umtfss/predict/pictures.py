"""The photos and masks that a segmenter holds.

Shapes: H W pixels.
"""

import numpy as np

from umtfss.predict.supports import Picture, read_photo


class Pictures:
    """Photos and masks by id; the catalog of the features."""

    def __init__(self) -> None:
        self._photos: dict[str, Picture] = {}
        self._masks: dict[str, np.ndarray] = {}
        self._queries = 0

    def add(self, image_id: str, photo: Picture, mask: np.ndarray) -> str:
        """Add a support, and return its id."""
        self._photos[image_id], self._masks[image_id] = photo, mask
        return image_id

    def add_query(self, photo: Picture) -> str:
        """Add a photo to segment, and return an id that no other photo has had."""
        self._queries += 1
        image_id = f"query/{self._queries}"
        self._photos[image_id] = read_photo(photo)
        return image_id

    def drop(self, image_id: str) -> None:
        """Forget a photo."""
        del self._photos[image_id]

    def image(self, image_id: str) -> np.ndarray:
        """The photo, (H, W, 3) uint8 RGB."""
        return read_photo(self._photos[image_id])

    def mask(self, image_id: str) -> np.ndarray:
        """The mask of a support, (H, W) uint8: 0 or `OBJECT`, 255 ignored."""
        return self._masks[image_id]
