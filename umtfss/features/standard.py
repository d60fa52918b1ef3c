"""The scale of frozen features, and features brought to one scale.

The initialisation of the meta-learners assumes mid features like those of a ResNet-50, whose
standard deviation is about 0.35. Other backbones' are ten times as large, and then the prior mask,
one channel in [0, 1], drowns. So the mid features of a level are multiplied by one number. It
follows from the images that a run is trained on and never from test images, and it stands in the
manifest of the training, so that tests and predictions use the same.

Shapes: h w grid, C channels.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import fsum, sqrt
from pathlib import Path

import h5py
import numpy as np

from umtfss.common.errors import StoreError
from umtfss.common.manifests import read_manifest
from umtfss.features.store import KIND, FeatureSource


@dataclass(frozen=True)
class Moments:
    """What a standard deviation is made of; features of one level.

    Attributes:
        count: Number of features: tokens times channels.
        total: Their sum.
        squares: The sum of their squares.
    """

    count: int
    total: float
    squares: float

    @classmethod
    def of(cls, values: np.ndarray) -> "Moments":
        """The moments of an array, added in double precision."""
        numbers = values.astype(np.float64)
        return cls(numbers.size, float(numbers.sum()), float(np.square(numbers).sum()))

    @classmethod
    def combine(cls, several: Iterable["Moments"]) -> "Moments":
        """The moments of several arrays together, whatever their order."""
        parts = list(several)
        return cls(
            sum(one.count for one in parts),
            fsum(one.total for one in parts),
            fsum(one.squares for one in parts),
        )

    @property
    def std(self) -> float:
        """The standard deviation, 0 of no features."""
        if self.count == 0:
            return 0.0
        mean = self.total / self.count
        return sqrt(max(self.squares / self.count - mean * mean, 0.0))


def part_moments(path: Path, level: str, ids: Sequence[str]) -> Iterable[Moments]:
    """The moments of a level of every image of a part of a feature cache."""
    with KIND.open(path) as file:
        group = file[f"features/{level}"]
        assert isinstance(group, h5py.Group)
        for image_id in ids:
            yield Moments.of(group[image_id][()])


def level_scales(
    manifests: Sequence[str | Path], levels: Sequence[str], std: float
) -> dict[str, float]:
    """Level -> the number that brings its features to the standard deviation `std`.

    Args:
        manifests: Of the shards of the images that a run is trained on.
        levels: The levels of the mid feature.
        std: What they are brought to.

    Raises:
        StoreError: A manifest has no moments of a level, or its features are all alike.
    """
    shards = [read_manifest(path, "features") for path in manifests]
    scales = {}
    for level in levels:
        lacking = [
            str(path)
            for path, shard in zip(manifests, shards, strict=True)
            if level not in shard.get("moments", {})
        ]
        if lacking:
            raise StoreError(
                f"{lacking[0]} does not say how features of the level {level} are scaled",
                expected="moments of every level",
                fix="delete the shard's folder and compute its features again",
            )
        found = Moments.combine(Moments(*shard["moments"][level]) for shard in shards).std
        if found == 0:
            raise StoreError(
                f"the features of the level {level} are all alike",
                expected="a standard deviation above 0",
                fix="name another level in `mid` of the features, or set their `mid_std: null`",
            )
        scales[level] = float(np.float32(std / found))
    return scales


class Standardised:
    """Features of which some levels are multiplied by a number each.

    Args:
        source: Features as a backbone gives them.
        scales: Level -> number; other levels stay.
    """

    def __init__(self, source: FeatureSource, scales: Mapping[str, float]) -> None:
        self.source, self.scales = source, dict(scales)
        self.channels, self.long_side = source.channels, source.long_side
        self.stride, self.multiple = source.stride, source.multiple
        self.align_corners = source.align_corners

    def grid(self, image_id: str) -> tuple[int, int]:
        """The image's un-padded grid (h, w)."""
        return self.source.grid(image_id)

    def image_size(self, image_id: str) -> tuple[int, int]:
        """The image's original (H, W), px."""
        return self.source.image_size(image_id)

    def read(self, image_id: str, level: str) -> np.ndarray:
        """One level of one image, (h, w, C) float16."""
        features = self.source.read(image_id, level)
        if level not in self.scales:
            return features
        return (features * np.float32(self.scales[level])).astype(np.float16)
