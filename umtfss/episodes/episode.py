"""Episodes and episode files.

Shapes: E episodes, K shots. An episode is (query, class, K supports). A test episode names images
by id and a class by class id. A pseudo-episode names a cluster in place of the class, so both have
the same file format and the same batches.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from umtfss.common.hdf5 import FileKind

KIND = FileKind("umtfss-episodes", 1, "an episode file")


@dataclass(frozen=True)
class Episode:
    """One few-shot task.

    Attributes:
        index: Position in the file, which keys the episode's random choices.
        query: Image id.
        class_id: Class id (test) or cluster (pseudo-episode).
        supports: K image ids, different from the query; in split episodes, all are the query.
    """

    index: int
    query: str
    class_id: int
    supports: tuple[str, ...]

    @property
    def roles(self) -> dict[str, str]:
        """Role -> image id; roles are "query", "support0" .. "support<K - 1>" and key draws."""
        supports = {f"support{k}": image_id for k, image_id in enumerate(self.supports)}
        return {"query": self.query, **supports}


class EpisodeList(Sequence[Episode]):
    """Episodes in the order in which they are used.

    Args:
        image_ids: Table of image ids.
        query: (E,) int32, row in `image_ids`.
        class_id: (E,) int32.
        supports: (E, K) int32, rows in `image_ids`.
        key: Name of the draw, e.g. "test/pascal/fold0/1shot/seed0".
    """

    def __init__(
        self,
        image_ids: Sequence[str],
        query: np.ndarray,
        class_id: np.ndarray,
        supports: np.ndarray,
        key: str,
    ) -> None:
        self.image_ids = tuple(image_ids)
        self.query = np.asarray(query, dtype=np.int32)
        self.class_id = np.asarray(class_id, dtype=np.int32)
        self.supports = np.asarray(supports, dtype=np.int32)
        self.key = key
        if self.supports.ndim != 2 or not (
            len(self.query) == len(self.class_id) == len(self.supports)
        ):
            raise ValueError(
                f"expected query (E,), class_id (E,) and supports (E, K), but got "
                f"{self.query.shape}, {self.class_id.shape}, {self.supports.shape}"
            )

    def __len__(self) -> int:
        return len(self.query)

    def __getitem__(self, index: int) -> Episode:  # type: ignore[override]  # no slices needed
        if not 0 <= index < len(self):
            raise IndexError(f"episode {index} of {len(self)}")
        ids = self.image_ids
        return Episode(
            index,
            ids[self.query[index]],
            int(self.class_id[index]),
            tuple(ids[row] for row in self.supports[index]),
        )

    @property
    def shot(self) -> int:
        """K."""
        return self.supports.shape[1]

    def save(self, path: str | Path, **facts: Any) -> None:
        """Write the episodes and their manifest; equal episodes give equal bytes.

        Args:
            path: The HDF5 file.
            **facts: Fields of the manifest.
        """
        with KIND.create(path, facts, track_order=True) as file:
            file.attrs["key"] = self.key
            file["image_ids"] = np.array(self.image_ids, dtype=h5py.string_dtype())
            for name in ("query", "class_id", "supports"):
                file[name] = getattr(self, name)

    @classmethod
    def load(cls, path: str | Path) -> "EpisodeList":
        """The episodes that a manifest describes.

        Raises:
            StoreError: The file or its manifest is missing, damaged, or of another kind or place.
        """
        with KIND.open(KIND.checked(path)) as file:
            return cls(
                file["image_ids"].asstr()[()],
                file["query"][()],
                file["class_id"][()],
                file["supports"][()],
                str(file.attrs["key"]),
            )
