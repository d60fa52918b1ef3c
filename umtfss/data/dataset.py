"""The interface of a data set.

Shapes: H W pixels. Class ids: 0 background, 1 .. C classes, 255 ignored. An image id is unique in
its data set. Outside the data set, ids are qualified: "<data set>/<image id>".
"""

from collections.abc import Mapping
from typing import Protocol

import numpy as np

from umtfss.common.errors import DataError


class Dataset(Protocol):
    """A data set on disk. Opening it is cheap, and it can be pickled.

    Attributes:
        name: The name in the experiment file; the first part of qualified ids.
        class_names: Class id -> name, background not included.
        has_masks: Whether `mask` can be called.
        splits: Names of the splits.
    """

    name: str
    class_names: Mapping[int, str]
    has_masks: bool
    splits: tuple[str, ...]

    def ids(self, split: str) -> list[str]:
        """The image ids of a split, in the order of its list."""
        ...

    def image(self, image_id: str) -> np.ndarray:
        """The image, (H, W, 3) uint8 RGB."""
        ...

    def mask(self, image_id: str) -> np.ndarray:
        """The class ids of an image, (H, W) uint8, 255 ignored."""
        ...


def known_split(dataset: Dataset, split: str) -> str:
    """`split`, if the data set has it.

    Raises:
        DataError: The data set has no such split.
    """
    if split not in dataset.splits:
        raise DataError(
            f"data set {dataset.name!r} has no split {split!r}",
            expected=f"one of {dataset.splits}",
            found=split,
            fix=f"write {dataset.name}/{dataset.splits[0]}",
        )
    return split
