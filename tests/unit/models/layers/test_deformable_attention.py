"""Deformable attention against loops and against `grid_sample`."""

import math

import torch
import torch.nn.functional as F
from torch import nn

from umtfss.models.layers.deformable_attention import DeformableAttention


def make(width: int, heads: int, points: int, spread: float) -> DeformableAttention:
    torch.manual_seed(0)
    layer = DeformableAttention(width, heads, points).double()
    for part in (layer.offsets, layer.weights):
        nn.init.normal_(part.weight, std=spread)
    return layer


def by_loops(
    layer: DeformableAttention, x: torch.Tensor, position: torch.Tensor, valid: torch.Tensor
) -> torch.Tensor:
    (batch, height, width), heads, points = valid.shape, layer.heads, layer.points
    offsets = layer.offsets(x + position).view(batch, -1, heads, 2, points)
    weights = layer.weights(x + position).view(batch, -1, heads, points).softmax(-1)
    value = layer.value(x).view(batch, height, width, heads, -1)
    out = torch.zeros(batch, height * width, heads, value.shape[-1], dtype=x.dtype)
    for b in range(batch):
        for n in range(height * width):
            for head in range(heads):
                for p in range(points):
                    column = n % width + offsets[b, n, head, 0, p].item()
                    row = n // width + offsets[b, n, head, 1, p].item()
                    for i in (math.floor(row), math.floor(row) + 1):
                        for j in (math.floor(column), math.floor(column) + 1):
                            if 0 <= i < height and 0 <= j < width and valid[b, i, j]:
                                share = (1 - abs(row - i)) * (1 - abs(column - j))
                                out[b, n, head] += (
                                    weights[b, n, head, p] * share * value[b, i, j, head]
                                )
    return layer.output(out.flatten(2))


def by_grid_sample(
    layer: DeformableAttention, x: torch.Tensor, position: torch.Tensor, valid: torch.Tensor
) -> torch.Tensor:
    (batch, height, width), heads, points = valid.shape, layer.heads, layer.points
    offsets = layer.offsets(x + position).view(batch, -1, heads, 2, points)
    weights = layer.weights(x + position).view(batch, -1, heads, points).softmax(-1)
    value = layer.value(x) * valid.flatten(1)[..., None]
    value = value.view(batch, -1, heads, value.shape[-1] // heads).permute(0, 2, 3, 1)
    place = torch.arange(height * width)
    place = torch.stack([place % width, place // width], -1)[:, None, :, None]
    size = torch.tensor([width, height])[:, None]
    grid = ((2 * (place + offsets) + 1) / size - 1).permute(0, 2, 1, 4, 3).flatten(0, 1)
    maps = value.reshape(batch * heads, -1, height, width)
    sampled = F.grid_sample(maps, grid, align_corners=False)
    sampled = sampled * weights.permute(0, 2, 1, 3).flatten(0, 1)[:, None]
    out = sampled.sum(-1).view(batch, heads, -1, height * width).flatten(1, 2)
    return layer.output(out.transpose(1, 2))


def random_input(batch: int, height: int, width: int, d: int) -> tuple[torch.Tensor, ...]:
    x, position = torch.randn(2, batch, height * width, d, dtype=torch.double)
    valid = torch.ones(batch, height, width, dtype=torch.bool)
    valid[-1, height - 1 :] = False
    valid[-1, 0, 1] = False
    return x.requires_grad_(), position, valid


def test_equals_loops() -> None:
    layer = make(8, 2, 3, 0.5)
    inputs = random_input(2, 4, 5, 8)
    torch.testing.assert_close(layer(*inputs), by_loops(layer, *inputs))


def test_gradients_equal_grid_sample() -> None:
    layer = make(16, 4, 5, 1.0)
    inputs = random_input(3, 6, 4, 16)
    weight = torch.randn(3, 24, 16, dtype=torch.double)
    parameters = [inputs[0], *layer.parameters()]
    results = []
    for function in (layer, lambda *arguments: by_grid_sample(layer, *arguments)):
        out = function(*inputs)
        results.append((out, *torch.autograd.grad((out * weight).sum(), parameters)))
    torch.testing.assert_close(results[0], results[1])


def test_starts_as_a_star() -> None:
    layer = DeformableAttention(32, 8, 9)
    star = layer.offsets.bias.detach().view(8, 2, 9)
    torch.testing.assert_close(star.abs().amax(1), torch.arange(1.0, 10).expand(8, 9))
    assert len({tuple(direction) for direction in star[..., 0].round(decimals=4).tolist()}) == 8


def test_far_points_see_zeros() -> None:
    layer = make(8, 2, 3, 0.0)
    with torch.no_grad():
        layer.offsets.bias.fill_(1e6)
    out = layer(*random_input(1, 3, 3, 8))
    assert (out == 0).all()


def test_dropout_takes_whole_values_and_single_points_in_training() -> None:
    torch.manual_seed(0)
    layer = DeformableAttention(4, 1, 2, dropout=0.25)
    nn.init.eye_(layer.value.weight)
    nn.init.eye_(layer.output.weight)
    with torch.no_grad():
        layer.offsets.bias.zero_()  # both points see the token itself, each with weight 1/2
    x, place = torch.ones(1, 40_000, 4), torch.zeros(1, 40_000, 4)
    valid = torch.ones(1, 200, 200, dtype=torch.bool)
    with torch.no_grad():
        assert (layer.eval()(x, place, valid) == 1).all()
        out = layer.train()(x, place, valid)[0]
    assert (out == out[:, :1]).all()  # a value is dropped with all its channels, and not scaled up
    shares = [(out[:, 0] - value).abs().lt(1e-5).double().mean() for value in (0, 2 / 3, 4 / 3)]
    expected = [0.25 + 0.75 / 16, 0.75 * 2 * 3 / 16, 0.75 * 9 / 16]
    torch.testing.assert_close(
        torch.stack(shares), torch.tensor(expected).double(), atol=0.01, rtol=0
    )
