"""Centre-pivot convolution against a loop over a sparse 4D kernel, and HSNet's blocks."""

import numpy as np
import pytest
import torch

from umtfss.models.correlation_learner import Decoder
from umtfss.models.hsnet import KERNELS, STRIDES
from umtfss.models.layers.center_pivot import CenterPivotConvolution, Squeeze


def full_kernel(layer: CenterPivotConvolution) -> np.ndarray:
    """The 4D kernel, (D, C, k, k, k, k): zero unless one plane's offset is the centre."""
    query, support = (
        plane.weight.detach().double().numpy() for plane in (layer.query_plane, layer.support_plane)
    )
    side = query.shape[2]
    kernel = np.zeros((*query.shape, side, side))
    kernel[..., side // 2, side // 2] += query
    kernel[:, :, side // 2, side // 2] += support
    return kernel


@pytest.mark.parametrize(("kernel", "stride"), [(3, 1), (3, 2), (5, 4)])
@torch.no_grad()
def test_it_is_a_4d_convolution_with_a_sparse_kernel(kernel: int, stride: int) -> None:
    torch.manual_seed(0)
    layer = CenterPivotConvolution(2, 3, kernel, stride)
    grid = torch.randn(2, 4, 3, 5, 6, 2)
    found = layer(grid)
    assert found.shape == (2, 4, 3, -(-5 // stride), -(-6 // stride), 3)

    weight, half = full_kernel(layer), kernel // 2
    bias = (layer.query_plane.bias + layer.support_plane.bias).numpy()
    around = [(0, 0), *[(half, half)] * 4, (0, 0)]
    padded = np.pad(grid.double().numpy(), around)
    expected = np.zeros(found.shape)
    for b, i, j, k, m in np.ndindex(*found.shape[:-1]):
        top, left = stride * k, stride * m
        window = padded[b, i : i + kernel, j : j + kernel, top : top + kernel, left : left + kernel]
        expected[b, i, j, k, m] = np.einsum("ijklc,dcijkl->d", window, weight) + bias
    torch.testing.assert_close(found.double(), torch.from_numpy(expected), atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_swapped_planes_transpose_the_result() -> None:
    torch.manual_seed(0)
    layer = CenterPivotConvolution(2, 3, 3, 1)
    layer.support_plane.load_state_dict(layer.query_plane.state_dict())
    grid = torch.randn(1, 4, 5, 3, 6, 2)
    swapped = layer(grid.permute(0, 3, 4, 1, 2, 5).contiguous())
    torch.testing.assert_close(swapped.permute(0, 3, 4, 1, 2, 5), layer(grid))


def test_there_are_as_many_parameters_as_in_the_release() -> None:
    """On layers 2, 3 and 4 of a ResNet-50, with the kernels of each."""
    channels = (16, 64, 128)
    groups = ((4, (5, 5, 3), (4, 4, 2)), (6, (5, 3, 3), (4, 2, 2)), (3, (3, 3, 3), (2, 2, 2)))
    parts = [Squeeze((levels, *channels), *sizes) for levels, *sizes in groups]
    mixing = [Squeeze((128,) * 4, (3, 3, 3), (1, 1, 1)) for _ in range(2)]
    modules = (*parts, *mixing, Decoder(128))
    assert sum(p.numel() for one in modules for p in one.parameters()) == 2_573_794


@pytest.mark.parametrize("side", [24, 30])
@torch.no_grad()
def test_usual_grids_end_at_two_by_two(side: int) -> None:
    squeeze = Squeeze((1, 4, 4, 4), KERNELS, STRIDES)
    support_valid = torch.ones(1, side, side, dtype=torch.bool)
    query_valid = torch.ones(1, 2, 2, dtype=torch.bool)
    grid, support_valid = squeeze(torch.rand(1, 2, 2, side, side, 1), query_valid, support_valid)
    assert grid.shape == (1, 2, 2, 2, 2, 4)
    assert support_valid.shape == (1, 2, 2)
