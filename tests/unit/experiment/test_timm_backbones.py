"""Measured geometry and cost of networks of timm."""

import pytest

from umtfss.common.errors import ConfigError
from umtfss.experiment.backbones import backbone_spec
from umtfss.experiment.features import ExtractedConfig


@pytest.mark.parametrize(
    ("name", "gmac", "geometry", "channels"),
    [  # published multiplications and additions at 224 px: results/benchmark-infer of timm
        ("resnet18", 1.82, (16, 32, True), [64, 64, 128, 256, 512]),
        ("deit_tiny_patch16_224", 1.26, (16, 16, False), [192] * 12),
    ],
)
def test_geometry_and_cost_are_those_published(name, gmac, geometry, channels):
    spec = backbone_spec(f"timm:{name}")
    assert (spec.stride, spec.multiple, spec.align_corners) == geometry
    assert list(spec.channels.values()) == channels
    deepest = list(spec.channels)[-1]
    assert spec.gflop(224, 224, [deepest]) / 2 == pytest.approx(gmac, rel=0.03)
    assert spec.gflop(224, 224, ["level0"]) < spec.gflop(224, 224, ["level2"])


def test_patches_without_padding_are_no_corners():
    spec = backbone_spec("timm:test_convnext")
    assert (spec.stride, spec.multiple, spec.align_corners) == (16, 32, False)
    assert spec.resized(300, 400, 400) == (288, 384)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("timm:resnet81", r"has no network 'resnet81'(?s:.*)resnet18"),
        ("timm:resnet18.moon", r"has no network 'resnet18\.moon'"),
        ("timm:mixer_s32_224", "mixer_s32_224 cannot be a backbone(?s:.*)any size"),
    ],
)
def test_names_that_cannot_be_used_are_explained(name, message):
    with pytest.raises(ConfigError, match=message):
        backbone_spec(name)


def test_an_experiment_names_levels_by_index():
    read = ExtractedConfig(
        backbone="timm:test_resnet", long_side=160, level="level4", mid=["level2", "level3"]
    )
    assert read.levels == ("level2", "level3", "level4")
    with pytest.raises(ValueError, match="no level level9"):
        ExtractedConfig(backbone="timm:test_resnet", long_side=160, level="level9")
    with pytest.raises(ValueError, match="backbone"):
        ExtractedConfig(backbone="timm:../moon", long_side=160, level="level0")
