"""The tokens of many images as one stream."""

from collections.abc import Iterator, Sequence

import numpy as np
from tqdm import tqdm

from umtfss.features.store import FeatureStore, unit_tokens


class TokenStream:
    """The unit tokens of some images, one image in memory at a time.

    Args:
        store: The feature store.
        level: Level of the features.
        ids: Qualified image ids, in the order in which they are read.
    """

    def __init__(self, store: FeatureStore, level: str, ids: Sequence[str]) -> None:
        self._images: Iterator[np.ndarray] = (
            unit_tokens(store, i, level) for i in tqdm(ids, "k-means", unit="image")
        )
        self._rest = np.empty((0, store.geometry.channels[level]), dtype=np.float32)

    def fill(self, buffer: np.ndarray) -> np.ndarray:
        """Fill `buffer`, (V, C) float32, and return its filled part: all of it until the end.

        Tokens of an image that do not fit are kept; the next call begins with them.
        """
        held = 0
        while held < len(buffer):
            if not len(self._rest):
                self._rest = next(self._images, self._rest)
                if not len(self._rest):
                    break
            taken = min(len(buffer) - held, len(self._rest))
            buffer[held : held + taken] = self._rest[:taken]
            self._rest = self._rest[taken:]
            held += taken
        return buffer[:held]
