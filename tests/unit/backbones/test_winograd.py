"""Winograd's convolution equals torch's."""

import pytest
import torch
from torch import nn

from umtfss.backbones.boxes import Margin
from umtfss.backbones.winograd import WinogradConv2d, use_winograd


def layer(dilation: int = 1, bias: bool = True, channels: int = 256) -> nn.Conv2d:
    torch.manual_seed(0)
    return nn.Conv2d(channels, 256, 3, padding=dilation, dilation=dilation, bias=bias)


@pytest.mark.parametrize(
    ("size", "dilation", "bias"),
    [((2, 44, 47), 1, True), ((1, 41, 58), 2, False), ((1, 45, 60), 4, True)],
)
def test_it_equals_the_plain_convolution(monkeypatch, size, dilation, bias):
    batch, height, width = size
    x = torch.randn(batch, 256, height, width)
    plain = layer(dilation, bias)
    expected = plain.double()(x.double())
    plain.float()
    use_winograd(plain)
    monkeypatch.setattr(nn.Conv2d, "forward", None)  # what the plain path would call
    with torch.no_grad():
        found = plain(x)
    assert found.is_contiguous(memory_format=torch.channels_last)
    error = (found - expected).abs().max() / expected.abs().max()
    assert error < 1e-5


@pytest.mark.parametrize("tiles", [1, 10**6])
@pytest.mark.parametrize("margin", [Margin(4, 4, 4, 4), Margin(0, 4, 3, 1), Margin(2, 0, 0, 4)])
@torch.no_grad()
def test_inside_of_a_margin_it_equals_the_plain_convolution(monkeypatch, margin, tiles):
    """A part of a map with all that it reads, or with zeros where the map ends."""
    monkeypatch.setattr("umtfss.backbones.winograd.LEAST_TILES", tiles)
    convolution, inner = layer(4), torch.randn(2, 256, 37, 41)
    padded = nn.functional.pad(inner, [4 - side for side in (*margin[2:], *margin[:2])])
    expected = nn.functional.conv2d(padded, convolution.weight, convolution.bias, dilation=4)
    use_winograd(convolution)
    found = convolution.inside(inner, margin)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)


def test_boxes_that_fill_few_tiles_compute_as_torch():
    fast, plain = layer(4), layer(4)
    use_winograd(fast)
    with torch.no_grad():
        for side, equal in ((17, True), (32, False)):  # tiles have 16 px
            x = torch.randn(1, 256, side, side)
            assert torch.equal(fast(x), plain(x)) == equal


@pytest.mark.parametrize("size", [(31, 30), (45, 48)])  # fewer and more tiles than the least
def test_no_image_depends_on_its_batch(size):
    images, fast = torch.randn(3, 256, *size), layer()
    use_winograd(fast)
    with torch.no_grad():
        together, alone = fast(images), fast(images[1:2])
    assert torch.equal(together[1:2], alone)


def test_bf16_gradients_and_few_tiles_compute_as_torch():
    x, fast = torch.randn(1, 256, 45, 48), layer()
    use_winograd(fast)
    plain = layer()
    for some in (x.requires_grad_(), x.detach()[:, :, :12]):
        context = torch.enable_grad() if some.requires_grad else torch.no_grad()
        with context:
            assert torch.equal(fast(some), plain(some))
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(fast(x), plain(x))
    with torch.no_grad():  # and this one does not
        assert not torch.equal(fast(x), plain(x))


def test_only_large_plain_3x3_convolutions_change():
    others = [
        layer(channels=128),
        nn.Conv2d(256, 256, 3, padding=1, stride=2),
        nn.Conv2d(256, 256, 3),
        nn.Conv2d(256, 256, 3, padding=1, groups=2),
        nn.Conv2d(256, 256, 3, padding=1, padding_mode="reflect"),
        nn.Conv2d(256, 256, 1),
    ]
    network = nn.Sequential(layer(2), *others)
    use_winograd(network)
    assert [type(one) for one in network] == [WinogradConv2d, *[nn.Conv2d] * len(others)]
