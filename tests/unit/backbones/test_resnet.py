"""ResNet-50 in the official file formats."""

import pytest
import torch
from torch import nn

from umtfss.backbones.boxes import Box
from umtfss.backbones.build import build_extractor
from umtfss.backbones.resnet import ResNet, freeze, layer_in_boxes
from umtfss.common.errors import WeightsError
from umtfss.common.onednn import OneDnnPointwise
from umtfss.experiment.backbones import backbone_spec
from umtfss.experiment.features import WeightsConfig

IMAGES = torch.rand(2, 3, 65, 97, generator=torch.Generator().manual_seed(1))


GRID = (25, 27)
BOXES = {  # on that grid, of a layer whose output reads 10 tokens around
    "all": Box(0, 25, 0, 27),
    "a corner": Box(0, 3, 0, 5),
    "the other corner": Box(23, 25, 22, 27),
    "top": Box(0, 2, 12, 15),
    "bottom": Box(21, 25, 11, 16),
    "left": Box(10, 14, 0, 1),
    "right": Box(11, 15, 24, 27),
    "across": Box(12, 14, 0, 27),
    "a token": Box(12, 13, 13, 14),
    "nothing": None,
}


def layers(network, images):
    """layer1 .. layer4 of a torchvision ResNet, called by hand."""
    spec = backbone_spec("resnet50")
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (spec.mean, spec.std))
    x = network.maxpool(network.relu(network.bn1(network.conv1((images - mean) / std))))
    out = []
    for layer in (network.layer1, network.layer2, network.layer3, network.layer4):
        x = layer(x)
        out.append(x)
    return out


@pytest.fixture(scope="module")
def moco_file(random_resnet, tmp_path_factory):
    """A MoCo-v2 checkpoint: training state, two encoders, a queue."""
    own = random_resnet.state_dict()
    state = {f"module.encoder_q.{k}": v for k, v in own.items() if not k.startswith("fc.")}
    state |= {f"module.encoder_k.{k}": v + 1 for k, v in own.items() if v.dtype.is_floating_point}
    state["module.encoder_q.fc.0.weight"] = torch.zeros(2048, 2048)
    state["module.queue"] = torch.zeros(128, 16)
    path = tmp_path_factory.mktemp("moco") / "moco_v2_800ep_pretrain.pth.tar"
    torch.save({"epoch": 800, "arch": "resnet50", "state_dict": state, "optimizer": {}}, path)
    return str(path)


def test_moco_reads_the_query_encoder(random_resnet, moco_file):
    extractor = build_extractor(
        "resnet50_moco_v2", ["layer4"], {"resnet50_moco_v2": WeightsConfig(source=moco_file)}
    )
    found = extractor(IMAGES)
    assert found["layer4"].shape == (2, 2048, *extractor.grid(65, 97))
    with torch.no_grad():
        expected = layers(random_resnet, IMAGES)[3]
    torch.testing.assert_close(found["layer4"], expected, rtol=1e-3, atol=1e-3)


def test_dino_reads_plain_keys_without_a_head(random_resnet, tmp_path):
    state = random_resnet.state_dict()
    state = {k: v for k, v in state.items() if not k.startswith("fc.")}
    torch.save(state, tmp_path / "dino_resnet50_pretrain.pth")
    weights = WeightsConfig(source=str(tmp_path / "dino_resnet50_pretrain.pth"))
    found = build_extractor("resnet50_dino", ["layer4"], {"resnet50_dino": weights})(IMAGES)
    with torch.no_grad():
        expected = layers(random_resnet, IMAGES)[3]
    torch.testing.assert_close(found["layer4"], expected, rtol=1e-3, atol=1e-3)


def test_moco_refuses_another_checkpoint(resnet_file):
    with pytest.raises(WeightsError, match=r"no MoCo checkpoint[\s\S]*module.encoder_q"):
        build_extractor(
            "resnet50_moco_v2", ["layer4"], {"resnet50_moco_v2": WeightsConfig(source=resnet_file)}
        )


def test_dilated_network_has_stride_8_and_its_first_layers_are_plain(random_resnet, resnet_file):
    levels = ["layer4", "layer2", "layer3"]
    extractor = build_extractor("resnet50", levels, {"resnet50": WeightsConfig(source=resnet_file)})
    found = extractor(IMAGES)
    assert list(found) == levels == list(extractor.levels)
    assert extractor.spec.stride == 8
    assert extractor.spec.align_corners
    for level, x in found.items():
        assert x.shape == (2, extractor.channels[level], 9, 13)
    with torch.no_grad():
        expected = layers(random_resnet, IMAGES)
    torch.testing.assert_close(found["layer2"], expected[1], rtol=1e-3, atol=1e-3)
    convolutions = {n: m for n, m in extractor.network.named_modules() if n.endswith("0.conv2")}
    # torchvision dilates from the second block of a layer on; its first keeps the dilation before.
    second = dict(extractor.network.named_modules())
    assert convolutions["network.layer3.0.conv2"].dilation == (1, 1)
    assert second["network.layer3.1.conv2"].dilation == (2, 2)
    assert second["network.layer4.1.conv2"].dilation == (4, 4)


def test_only_what_is_asked_for_is_kept(resnet_file):
    extractor = build_extractor(
        "resnet50", ["layer2"], {"resnet50": WeightsConfig(source=resnet_file)}
    )
    assert not any("layer3" in k or "layer4" in k for k in extractor.state_dict())
    whole = build_extractor(
        "resnet50", ["layer2", "layer4"], {"resnet50": WeightsConfig(source=resnet_file)}
    )
    assert whole.digest == extractor.digest
    torch.testing.assert_close(whole(IMAGES)["layer2"], extractor(IMAGES)["layer2"])


def test_frozen_whatever_train_says(resnet_file):
    extractor = build_extractor(
        "resnet50", ["layer3"], {"resnet50": WeightsConfig(source=resnet_file)}
    )
    before = extractor(IMAGES)["layer3"]
    holder = torch.nn.Sequential(extractor).train()
    assert not any(module.training for module in extractor.modules())
    for _ in range(2):
        after = holder(IMAGES * 3)["layer3"]
    assert not after.requires_grad
    assert not any(p.requires_grad for p in extractor.parameters())
    torch.testing.assert_close(extractor(IMAGES)["layer3"], before, rtol=0, atol=0)


@pytest.mark.parametrize("name", ["resnet50", "resnet50_dino"])
def test_tokens_lie_where_align_corners_says(random_resnet, tmp_path, name):
    # With kernels equal to their mirror image, features commute with a flip of the image only if
    # the grid lies symmetrically on it.
    state = {k: v + v.flip(3) if v.dim() == 4 else v for k, v in random_resnet.state_dict().items()}
    torch.save(state, tmp_path / "symmetric.pth")
    weights = WeightsConfig(source=str(tmp_path / "symmetric.pth"))
    extractor = build_extractor(name, ["layer4"], {name: weights})
    there, flipped = extractor(IMAGES)["layer4"], extractor(IMAGES.flip(3))["layer4"]
    scale = there.abs().max().item()
    torch.testing.assert_close(flipped.flip(3) / scale, there / scale, rtol=0, atol=1e-3)


def test_a_side_that_does_not_fit_is_refused(resnet_file):
    extractor = build_extractor(
        "resnet50", ["layer2"], {"resnet50": WeightsConfig(source=resnet_file)}
    )
    with pytest.raises(ValueError, match=r"sides of 8 k \+ 1 px, but got \(64, 65\)"):
        extractor(torch.zeros(1, 3, 64, 65))


def test_folded_norms_keep_the_features(random_resnet, resnet_file):
    levels = ["layer2", "layer3", "layer4"]
    extractor = build_extractor("resnet50", levels, {"resnet50": WeightsConfig(source=resnet_file)})
    layers_of = list(extractor.network.modules())
    assert not [m for m in layers_of if isinstance(m, nn.BatchNorm2d)]
    assert len([m for m in layers_of if isinstance(m, OneDnnPointwise)]) > 30
    unfolded = ResNet(levels, "layer4", dilated=True)
    unfolded.network.load_state_dict(random_resnet.state_dict(), strict=False)
    images = (IMAGES - extractor.mean) / extractor.std
    with torch.no_grad():
        expected = unfolded.eval()(images)
    for level, found in extractor(IMAGES).items():
        largest = expected[level].abs().max()
        assert (found - expected[level]).abs().max() < 2e-5 * largest


@pytest.fixture(scope="module")
def frozen(random_resnet):
    network = ResNet(("layer2", "layer3", "layer4"), "layer4", dilated=True)
    network.network.load_state_dict(random_resnet.state_dict(), strict=False)
    network.requires_grad_(False)
    freeze(network)
    return network.to(memory_format=torch.channels_last)


def drawn(box, size=GRID):
    """A grid of tokens that this box is the smallest around."""
    tokens = torch.zeros(size, dtype=torch.bool)
    if box is not None:
        tokens[box.top, box.left] = tokens[box.bottom - 1, box.right - 1] = True
    return tokens


@pytest.mark.parametrize("winograd", [False, True])
def test_a_layer_in_boxes_is_the_whole_layer_there(frozen, monkeypatch, winograd):
    monkeypatch.setattr("umtfss.backbones.winograd.LEAST_TILES", 1 if winograd else 10**6)
    monkeypatch.setattr("umtfss.backbones.winograd.LEAST_FILLED", 0)
    x = torch.rand(1, 1024, *GRID, generator=torch.Generator().manual_seed(0))
    x = x.expand(len(BOXES), -1, -1, -1).contiguous(memory_format=torch.channels_last)
    layer, read = frozen.network.layer4, torch.stack([drawn(box) for box in BOXES.values()])
    with torch.no_grad():
        whole, found = layer(x[:1]), layer_in_boxes(list(layer), x, read)
    assert found.shape == (len(BOXES), 2048, *GRID)
    assert found.is_contiguous(memory_format=torch.channels_last)
    for (name, box), one in zip(BOXES.items(), found.split(1), strict=True):
        outside = one.clone()
        if box is not None:
            error = (box.of(one) - box.of(whole)).abs().max() / whole.abs().max()
            assert error < 1e-5, name
            box.of(outside).zero_()
        assert not outside.any(), name


@torch.no_grad()
def test_boxes_are_of_the_deepest_layer_on_a_cpu_in_fp32_alone(frozen):
    images = torch.rand(2, 3, 97, 129, generator=torch.Generator().manual_seed(0))
    read = torch.stack([drawn(None, (13, 17)), drawn(Box(2, 5, 3, 9), (13, 17))])
    whole, found = frozen(images), frozen(images, read)
    assert torch.equal(found["layer2"], whole["layer2"])
    assert torch.equal(found["layer3"], whole["layer3"])
    assert not found["layer4"][0].any()
    assert not found["layer4"][1, :, 6:].any()
    torch.testing.assert_close(
        found["layer4"][1, :, 2:5, 3:9], whole["layer4"][1, :, 2:5, 3:9], rtol=1e-4, atol=1e-4
    )
    with torch.autocast("cpu", torch.bfloat16):
        half = frozen(images, read)
    assert half["layer4"][0].any()
    plain = ResNet(("layer4",), "layer4", dilated=False).requires_grad_(False).eval()
    freeze(plain)
    assert torch.equal(plain(images, read)["layer4"], plain(images)["layer4"])  # a stride of 2


@torch.no_grad()
def test_an_extractor_passes_boxes_on_unless_it_looks_twice(resnet_file):
    weights = {"resnet50": WeightsConfig(source=resnet_file)}
    read = torch.zeros(2, 9, 13, dtype=torch.bool)
    once = build_extractor("resnet50", ["layer4"], weights)(IMAGES, read)
    assert not once["layer4"].any()
    twice = build_extractor("resnet50", ["layer4"], weights, mirrored=True)
    assert torch.equal(twice(IMAGES, read)["layer4"], twice(IMAGES)["layer4"])
