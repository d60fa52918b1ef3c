"""The tokens of many images as one stream."""

from collections.abc import Iterator, Sequence

import numpy as np
from tqdm import tqdm

from umtfss.features.store import FeatureStore, unit_tokens


class TokenStream:
    """The unit tokens of some images, one image in memory at a time.

    Args:
        store: The feature store.
        level: The level read.
        ids: Qualified image ids, in the order in which they are read.
    """

    def __init__(self, store: FeatureStore, level: str, ids: Sequence[str]) -> None:
        self._images: Iterator[np.ndarray] = (
            unit_tokens(store, i, level) for i in tqdm(ids, "k-means", unit="image")
        )
        self._rest = np.empty((0, store.channels[level]), dtype=np.float32)

    def fill(self, buffer: np.ndarray) -> np.ndarray:
        """The filled part of `buffer`: all of it until the stream ends.

        What an image has beyond the buffer's end comes first in the next call.
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
