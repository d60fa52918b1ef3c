"""Networks of timm as backbones; their weights are random and in local files."""

import pytest
import timm
import torch
from safetensors.torch import save_file

from umtfss.backbones.build import build_extractor
from umtfss.common.errors import WeightsError
from umtfss.experiment.backbones import backbone_spec
from umtfss.experiment.features import WeightsConfig


def saved(folder, name, **change):
    """A checkpoint of a whole network with its head, and the network."""
    torch.manual_seed(0)
    network = timm.create_model(name, pretrained=False).eval()
    path = folder / "weights.safetensors"
    save_file(network.state_dict() | change, path)
    return network, {f"timm:{name}": WeightsConfig(source=str(path))}


def test_levels_are_those_of_timms_features(tmp_path):
    network, weights = saved(tmp_path, "test_resnet")
    extractor = build_extractor("timm:test_resnet", ["level3", "level4"], weights)
    features = timm.create_model("test_resnet", features_only=True).eval()
    features.load_state_dict(network.state_dict(), strict=False)
    images = torch.rand(2, 3, 97, 129)
    mean, std = (torch.tensor(network.pretrained_cfg[k])[:, None, None] for k in ("mean", "std"))
    with torch.no_grad():
        expected = features((images - mean) / std)
    found = extractor(images)
    assert found["level3"].shape[2:] == extractor.grid(97, 129) == (7, 9)
    torch.testing.assert_close(found["level3"], expected[3], rtol=1e-4, atol=1e-5)
    coarse = expected[4]  # (4, 5) tokens at 32 px: every second token of the grid
    torch.testing.assert_close(found["level4"][:, :, ::2, ::2], coarse, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["test_resnet", "test_convnext"])
def test_a_token_lies_where_the_spec_says(tmp_path, name):
    """The pixels that a token sees first lie around the token."""
    _, weights = saved(tmp_path, name)
    spec = backbone_spec(f"timm:{name}")
    extractor = build_extractor(spec.name, ["level0"], weights)
    side = 8 * spec.multiple + int(spec.align_corners)
    images = torch.rand(1, 3, side, side, requires_grad=True)
    token = 8
    with torch.enable_grad():
        level = extractor.network((images - extractor.mean) / extractor.std)["level0"]
        level[0, :, token, token].square().sum().backward()
    seen = images.grad[0].abs().sum(0)
    rows = torch.arange(side, dtype=torch.float)
    centre = float((seen.sum(1) * rows).sum() / seen.sum())
    expected = token * spec.stride + (0 if spec.align_corners else (spec.stride - 1) / 2)
    assert centre == pytest.approx(expected, abs=spec.stride / 4)


def test_lacking_and_wrong_weights_are_explained(tmp_path):
    with pytest.raises(WeightsError, match=r"has no packaged weights(?s:.*)huggingface\.co/timm"):
        build_extractor("timm:test_resnet", ["level1"])
    _, weights = saved(tmp_path, "test_resnet", **{"more.weight": torch.zeros(1)})
    with pytest.raises(WeightsError, match=r"more\.weight is unknown"):
        build_extractor("timm:test_resnet", ["level1"], weights)
    weights = {"timm:test_resnet": WeightsConfig(source=str(tmp_path / "moon.safetensors"))}
    with pytest.raises(WeightsError, match="does not exist"):
        build_extractor("timm:test_resnet", ["level1"], weights)


def test_a_checkpoint_of_a_training_is_read(tmp_path):
    network, weights = saved(tmp_path, "test_resnet")
    path = tmp_path / "last.pth"
    torch.save({"epoch": 3, "state_dict": network.state_dict()}, path)
    one = build_extractor("timm:test_resnet", ["level1"], weights)
    other = {"timm:test_resnet": WeightsConfig(source=str(path))}
    assert build_extractor("timm:test_resnet", ["level1"], other).digest == one.digest
