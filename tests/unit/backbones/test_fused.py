"""Fused blocks equal torchvision's."""

from copy import deepcopy

import pytest
import torch
from torchvision.models.resnet import Bottleneck

from umtfss.backbones.fused import FusedBottleneck, fuse_blocks
from umtfss.backbones.resnet import LAYERS, ResNet, fold_norms, freeze


@pytest.fixture(scope="module")
def networks():
    """A dilated ResNet-50 with folded norms, and a frozen one with the same weights."""
    torch.manual_seed(0)
    plain = ResNet(LAYERS, "layer4", dilated=True).requires_grad_(False)
    frozen = deepcopy(plain)
    fold_norms(plain)
    freeze(frozen)
    return plain, frozen


def largest_error(found, expected):
    return max(
        float((found[name] - value).abs().max() / value.abs().max())
        for name, value in expected.items()
    )


def test_a_frozen_network_equals_itself_and_keeps_its_levels(networks, monkeypatch):
    plain, frozen = networks
    monkeypatch.setattr("umtfss.backbones.winograd.LEAST_TILES", 1)
    monkeypatch.setattr("umtfss.backbones.winograd.LEAST_FILLED", 0)
    images = torch.rand(1, 3, 97, 65).to(memory_format=torch.channels_last)
    with torch.no_grad():
        expected = plain(images)
        before = images.clone()
        monkeypatch.setattr(Bottleneck, "forward", None)  # what the plain path would call
        found = frozen(images)
    assert list(found) == list(LAYERS)
    assert torch.equal(images, before)
    assert largest_error(found, expected) < 1e-4


def test_bf16_computes_as_torchvision(networks):
    plain, frozen = networks
    images = torch.rand(1, 3, 65, 65)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        found = frozen(images)
        assert found["layer4"].dtype == torch.bfloat16
        assert largest_error(found, plain(images)) < 0.05


def test_without_onednn_blocks_stay(monkeypatch):
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    block = Bottleneck(256, 64)
    fuse_blocks(block)
    assert type(block) is Bottleneck
    monkeypatch.undo()
    fuse_blocks(block)
    assert type(block) is FusedBottleneck


def test_a_trace_has_operators_of_torch_alone(networks, monkeypatch):
    monkeypatch.setattr("umtfss.backbones.winograd.LEAST_TILES", 1)
    monkeypatch.setattr("umtfss.backbones.winograd.LEAST_FILLED", 0)
    block, images = networks[1].network.layer4[1], torch.rand(1, 2048, 9, 9)
    with torch.no_grad():
        program = torch.export.export(block, (images,))
        torch.testing.assert_close(program.module()(images), block(images), rtol=1e-4, atol=1e-4)
    called = {str(node.target) for node in program.graph.nodes if node.op == "call_function"}
    assert any("conv2d" in name for name in called)
    assert all(name.startswith("aten.") for name in called)
    assert not any("as_strided" in name for name in called)  # of Winograd's tiles
