"""Levels side by side, and tuned features made of them."""

import numpy as np
import pytest
import torch

from umtfss.errors import StoreError
from umtfss.features.tuned import Beside, TunedFeatures


class Source:
    """Features of random numbers, equal for an image and a level."""

    def __init__(self, channels: dict[str, int], **geometry) -> None:
        self.channels, self.long_side, self.stride, self.multiple = channels, 56, 28, 28
        self.align_corners = False
        vars(self).update(geometry)

    def grid(self, image_id: str) -> tuple[int, int]:
        return 3, 4

    def image_size(self, image_id: str) -> tuple[int, int]:
        return 90, 120

    def read(self, image_id: str, level: str) -> np.ndarray:
        random = np.random.default_rng(list(f"{image_id}{level}".encode()))
        return random.standard_normal((3, 4, self.channels[level])).astype(np.float16)


def test_each_level_is_read_where_it_is():
    one, other = Source({"fused": 5}), Source({"residual6": 3})
    both = Beside([one, other])
    assert both.channels == {"fused": 5, "residual6": 3}
    assert (both.grid("x/a"), both.image_size("x/a")) == ((3, 4), (90, 120))
    for source, level in ((one, "fused"), (other, "residual6")):
        assert np.array_equal(both.read("x/a", level), source.read("x/a", level))


def test_of_one_level_the_first_source_is_read():
    one, other = Source({"fused": 5}), Source({"fused": 6})
    assert Beside([one, other]).channels == {"fused": 5}


@pytest.mark.parametrize("geometry", [{"long_side": 84}, {"stride": 14}, {"align_corners": True}])
def test_other_grids_are_refused(geometry):
    (key,) = geometry
    with pytest.raises(StoreError, match=f"another {key}"):
        Beside([Source({"fused": 5}), Source({"residual6": 3}, **geometry)])


def test_tuned_features_are_what_the_backbone_makes_of_their_levels():
    seen = []

    def tokens(mid: torch.Tensor, high: torch.Tensor) -> torch.Tensor:
        seen.append((mid, high))
        return torch.cat([mid[:, 3:], 2 * high], 1)

    source = Beside([Source({"fused": 5}), Source({"residual6": 3}), Source({"diffused": 2})])
    features = TunedFeatures(source, ["residual6", "diffused"], "fused", tokens)
    assert features.channels["tuned"] == 7
    found = features.read("x/a", "tuned")
    assert (found.shape, found.dtype) == ((3, 4, 7), np.float16)
    parts = [source.read("x/a", level) for level in ("residual6", "diffused", "fused")]
    assert np.array_equal(found, np.concatenate([parts[1], 2 * parts[2]], 2))
    ((mid, high),) = seen
    assert np.array_equal(mid[0].permute(1, 2, 0).numpy(), np.concatenate(parts[:2], 2))
    assert np.array_equal(high[0].permute(1, 2, 0).numpy(), parts[2])


def test_the_levels_below_can_be_read_too():
    source = Source({"fused": 5, "residual6": 3})
    features = TunedFeatures(source, ["residual6"], "fused", lambda mid, high: high)
    assert np.array_equal(features.read("x/a", "fused"), source.read("x/a", "fused"))
    assert (features.grid("x/a"), features.image_size("x/a")) == ((3, 4), (90, 120))
