"""Linear maps through oneDNN equal torch's own."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from umtfss.common.onednn import Linear, Pointwise, linear


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("shape", [(3, 5, 12), (7, 12), (2, 3, 4, 12)])
@pytest.mark.parametrize("has_bias", [True, False])
def test_linear_and_its_gradients_equal_torch(dtype, shape, has_bias) -> None:
    torch.manual_seed(0)
    x = torch.randn(shape, dtype=dtype, requires_grad=True)
    weight = torch.randn(8, 12, dtype=dtype, requires_grad=True)
    bias = torch.randn(8, dtype=dtype, requires_grad=True) if has_bias else None
    inputs = [x, weight, *([bias] if bias is not None else [])]
    found, expected = linear(x, weight, bias), F.linear(x, weight, bias)
    torch.testing.assert_close(found, expected)
    gradient = torch.randn_like(expected)
    for ours, theirs in zip(
        torch.autograd.grad(found, inputs, gradient),
        torch.autograd.grad(expected, inputs, gradient),
        strict=True,
    ):
        torch.testing.assert_close(ours, theirs)


def test_tokens_that_are_not_contiguous() -> None:
    x = torch.randn(2, 12, 9).transpose(1, 2)
    weight = torch.randn(10, 24)[:, :12]
    torch.testing.assert_close(linear(x, weight), F.linear(x, weight))


def test_autocast_as_torch() -> None:
    x, layer = torch.randn(2, 9, 12), Linear(12, 8)
    with torch.autocast("cpu", torch.bfloat16):
        found, expected = layer(x), F.linear(x, layer.weight, layer.bias)
    assert found.dtype == expected.dtype == torch.bfloat16
    torch.testing.assert_close(found, expected, atol=0.02, rtol=0.02)


def test_layers_hold_the_parameters_of_torch() -> None:
    for ours, theirs in ((Linear(6, 4), nn.Linear(6, 4)), (Pointwise(6, 4), nn.Conv2d(6, 4, 1))):
        ours.load_state_dict(theirs.state_dict())
        x = torch.randn(2, 6, 5, 6)
        torch.testing.assert_close(ours(x), theirs(x))
