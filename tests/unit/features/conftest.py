"""A tiny backbone and a data set in memory."""

import sys
from dataclasses import dataclass, field
from types import ModuleType

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from umtfss.backbones.extractor import Extractor
from umtfss.experiment.backbones import BackboneSpec


class Means(nn.Module):
    """Level "fine": means of 4 x 4 px; level "both": fine and minus fine."""

    def forward(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        fine = F.avg_pool2d(images, 4)
        return {"fine": fine, "both": torch.cat([fine, -fine], dim=1)}


BACKBONE = BackboneSpec(
    name="means",
    title="means",
    stride=4,
    multiple=4,
    align_corners=False,
    mean=(0.5, 0.5, 0.5),
    std=(0.5, 0.5, 0.5),
    channels={"fine": 3, "both": 6},
    pixel_flop={"fine": 1.0, "both": 1.0},
    token_flop={"fine": 0.0, "both": 0.0},
    source=None,
    official="",
)


@dataclass
class Images:
    """A data set in memory; `broken` ids raise, as a killed job would stop."""

    name: str
    images: dict[str, np.ndarray]
    broken: set[str] = field(default_factory=set)
    read: list[str] = field(default_factory=list)

    @property
    def qualified(self) -> list[str]:
        return [f"{self.name}/{image_id}" for image_id in self.images]

    def image(self, image_id: str) -> np.ndarray:
        if image_id in self.broken:
            raise KeyboardInterrupt(image_id)
        self.read.append(image_id)
        return self.images[image_id]


@pytest.fixture
def extractor() -> Extractor:
    return Extractor(BACKBONE, ["fine", "both"], Means(), "digest of the weights")


@pytest.fixture
def dataset() -> Images:
    random = np.random.default_rng(0)
    sizes = [(32, 48), (48, 32), (40, 40), (32, 48), (30, 60)] * 4
    return Images(
        "toy",
        {
            f"a/{i:02d}": random.integers(0, 256, (*size, 3), dtype=np.uint8)
            for i, size in enumerate(sizes)
        },
    )


def grey_images(count: int) -> dict[str, np.ndarray]:
    """Images of one size, "00", "01", ..."""
    return {f"{i:02d}": np.full((40, 40, 3), i, dtype=np.uint8) for i in range(count)}


@pytest.fixture
def toy() -> ModuleType:
    """This module: pytest does not let tests import it."""
    return sys.modules[__name__]
