"""Attentive squeeze against an explicit loop over query positions, and its masks."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from umtfss.models.asnet import mixing_layers, squeezing_layers
from umtfss.models.correlation_learner import Decoder
from umtfss.models.layers.attentive_squeeze import HEADS, AttentiveSqueeze, shown_keys


def make_layer(*sizes: int, pooled: bool) -> AttentiveSqueeze:
    torch.manual_seed(0)
    return AttentiveSqueeze(*sizes, pooled=pooled)


def everywhere(*shape: int) -> Tensor:
    return torch.ones(shape, dtype=torch.bool)


def attended(layer: AttentiveSqueeze, plane: Tensor, shown: Tensor) -> Tensor:
    """Attention at one query position, (N', D / 2) of a plane (C, n, m), head by head."""
    side, stride, padding = layer.kernel, layer.stride, layer.padding
    own = (stride, padding) if layer.pooled else (1, 0)
    query = F.conv2d(plane, layer.query.weight, layer.query.bias, stride, padding).flatten(1)
    key, value = (
        F.conv2d(plane, one.weight, one.bias, *own).flatten(1) for one in (layer.key, layer.value)
    )
    assert layer.query.kernel_size == (side, side)
    width, found = len(query) // HEADS, []
    for head in range(HEADS):
        rows = slice(head * width, (head + 1) * width)
        scores = query[rows].T @ key[rows][:, shown]
        found.append(scores.softmax(1) @ value[rows][:, shown].T)
    return torch.cat(found, 1)


@pytest.mark.parametrize(
    ("kernel", "stride", "pooled"), [(5, 4, True), (3, 2, False), (1, 1, False), (2, 1, False)]
)
@torch.no_grad()
def test_it_is_a_loop_over_query_positions(kernel: int, stride: int, pooled: bool) -> None:
    layer = make_layer(3, 32, kernel, stride, pooled=pooled)
    grid, mask = torch.randn(2, 2, 3, 6, 5, 3), torch.rand(2, 6, 5) > 0.7
    keys = F.max_pool2d(mask[:, None].float(), stride, ceil_mode=True)[:, 0] > 0
    shown = (keys if pooled else mask).flatten(1)
    assert shown.any(1).all()
    found = layer._attended(grid, shown).unflatten(0, (2, 2, 3))
    for b, i, j in np.ndindex(2, 2, 3):
        expected = attended(layer, grid[b, i, j].permute(2, 0, 1), shown[b])
        torch.testing.assert_close(found[b, i, j], expected, atol=1e-5, rtol=1e-4)


def test_there_are_as_many_parameters_as_in_the_release() -> None:
    """Whose deepest group, of layer 4, has kernels 5 and 3, and keys that are not pooled."""
    deepest = (
        AttentiveSqueeze(3, 32, 5, 4, pooled=False),
        AttentiveSqueeze(32, 128, 3, 2, pooled=False),
    )
    modules = (*deepest, squeezing_layers(6), squeezing_layers(4))
    modules += (mixing_layers(), mixing_layers(), Decoder(128))
    assert sum(p.numel() for one in modules for p in one.parameters()) == 1_320_610


@pytest.mark.parametrize("side", [24, 30])
@torch.no_grad()
def test_usual_grids_end_at_one_position(side: int) -> None:
    grid, mask, valid = torch.rand(1, 1, 2, side, side, 1), torch.ones(1, side, side), None
    query_valid, valid = everywhere(1, 1, 2), everywhere(1, side, side)
    sides = []
    for layer in (*squeezing_layers(1), *mixing_layers()):
        grid, valid, mask = layer(grid, query_valid, valid, mask)
        assert grid.shape[3:5] == valid.shape[1:] == mask.shape[1:]
        sides.append(grid.shape[3])
    assert sides == [-(-side // 4), 2, 2, 1]


@torch.no_grad()
def test_hidden_keys_do_not_matter_and_a_full_mask_hides_none() -> None:
    layer = make_layer(3, 32, 1, 1, pooled=False)
    grid, mask = torch.randn(1, 2, 2, 4, 4, 3), torch.zeros(1, 4, 4)
    mask[0, 1, 1:3] = 0.2
    query_valid, valid = everywhere(1, 2, 2), everywhere(1, 4, 4)
    keys = shown_keys(valid, mask)
    assert keys.sum() == 2
    other = torch.where((mask > 0)[:, None, None, :, :, None], grid, torch.randn_like(grid))
    at_shown = keys.view(4, 4)
    one, two = (layer._attended(g, keys).unflatten(1, (4, 4)) for g in (grid, other))
    torch.testing.assert_close(one[:, at_shown], two[:, at_shown])
    assert shown_keys(valid, torch.ones(1, 4, 4)).all()
    everything = layer(grid, query_valid, valid, torch.ones(1, 4, 4))[0]
    assert not torch.allclose(layer(grid, query_valid, valid, mask)[0], everything, atol=1e-3)


@pytest.mark.parametrize("place", [(0, 0), (11, 12), (23, 23)])
@torch.no_grad()
def test_an_object_of_one_token_keeps_a_key_at_every_level(place: tuple[int, int]) -> None:
    """Corners of the mask, as the release reads, would hide every key of a centred object."""
    grid, mask = torch.rand(1, 1, 1, 24, 24, 1), torch.zeros(1, 24, 24)
    mask[0, place[0], place[1]] = 0.1
    query_valid, valid = everywhere(1, 1, 1), everywhere(1, 24, 24)
    for layer in (*squeezing_layers(1), *mixing_layers()):
        grid, valid, mask = layer(grid, query_valid, valid, mask)
        assert mask.max() == pytest.approx(0.1)


def test_an_empty_mask_hides_no_valid_key() -> None:
    valid = everywhere(1, 2, 2)
    valid[0, 1] = False
    assert shown_keys(valid, torch.zeros(1, 2, 2)).tolist() == [[True, True, False, False]]


@torch.no_grad()
def test_permuted_support_tokens_permute_the_result_of_a_layer_without_window() -> None:
    layer = make_layer(32, 32, 1, 1, pooled=False)
    grid, mask = torch.randn(2, 2, 2, 1, 6, 32), torch.rand(2, 1, 6).round()
    order = torch.randperm(6)
    query_valid, valid = everywhere(2, 2, 2), everywhere(2, 1, 6)
    found, _, _ = layer(grid, query_valid, valid, mask)
    permuted, _, _ = layer(grid[..., order, :], query_valid, valid, mask[..., order])
    torch.testing.assert_close(permuted, found[..., order, :], atol=1e-5, rtol=1e-4)
