"""Scaling of frozen features to one standard deviation.

The initialisation of the meta-learners assumes mid features like a ResNet-50's, with a standard
deviation of about 0.35. Mid features of other backbones can be ten times as large; the prior mask,
one channel in [0, 1], then has no weight. So the mid features of each level are multiplied by one
number. The number is computed from the training images, never from test images. The manifest of the
training holds the number, and tests and predictions read it there.

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
    """The moments of the features of one level, from which their standard deviation follows.

    Attributes:
        count: Number of values: tokens times channels.
        total: Sum of the values.
        squares: Sum of the squared values.
    """

    count: int
    total: float
    squares: float

    @classmethod
    def of(cls, values: np.ndarray) -> "Moments":
        """The moments of an array, summed in double precision."""
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
        """The standard deviation; 0 without features."""
        if self.count == 0:
            return 0.0
        mean = self.total / self.count
        return sqrt(max(self.squares / self.count - mean * mean, 0.0))


def part_moments(path: Path, level: str, ids: Sequence[str]) -> Iterable[Moments]:
    """The moments of a level, image by image, in one part of a feature cache."""
    with KIND.open(path) as file:
        group = file[f"features/{level}"]
        assert isinstance(group, h5py.Group)
        for image_id in ids:
            yield Moments.of(group[image_id][()])


def level_scales(
    manifests: Sequence[str | Path], levels: Sequence[str], std: float
) -> dict[str, float]:
    """Level -> the factor that scales its features to the standard deviation `std`.

    Args:
        manifests: Manifests of the shards of the training images.
        levels: The levels of the mid feature.
        std: The standard deviation after scaling.

    Raises:
        StoreError: A manifest has no moments of a level, or all features of a level are equal.
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
    """Features with some levels multiplied by a factor each.

    Args:
        source: The unscaled features.
        scales: Level -> factor; other levels stay.
    """

    def __init__(self, source: FeatureSource, scales: Mapping[str, float]) -> None:
        self.source, self.scales = source, dict(scales)
        self.geometry = source.geometry

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
