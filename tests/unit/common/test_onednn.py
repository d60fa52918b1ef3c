"""Linear maps through oneDNN equal torch's own."""

from copy import deepcopy

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.modules.linear import NonDynamicallyQuantizableLinear

from umtfss.common.onednn import OneDnnLinear, OneDnnPointwise, accelerate, linear


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
    x, layer = torch.randn(2, 9, 12), nn.Linear(12, 8)
    with torch.autocast("cpu", torch.bfloat16):
        expected = layer(x)
        accelerate(layer)
        found = layer(x)
    assert found.dtype == expected.dtype == torch.bfloat16
    torch.testing.assert_close(found, expected, atol=0.02, rtol=0.02)


class Net(nn.Module):
    """A linear layer, convolutions of several kinds, and a linear layer of another class."""

    def __init__(self) -> None:
        super().__init__()
        self.convolutions = nn.Sequential(
            nn.Conv2d(6, 8, 1), nn.Conv2d(8, 8, 3, padding=1), nn.Conv2d(8, 8, 1, groups=2),
            nn.Conv2d(8, 8, 1, stride=2), nn.Conv2d(8, 8, 1, bias=False),
        )  # fmt: skip
        self.tokens = nn.Sequential(nn.Linear(8, 5), NonDynamicallyQuantizableLinear(5, 4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.tokens(self.convolutions(x).flatten(2).transpose(1, 2))


def test_an_accelerated_model_equals_itself() -> None:
    torch.manual_seed(0)
    plain = Net()
    fast = deepcopy(plain)
    accelerate(fast)
    kinds = [type(layer) for layer in (*fast.convolutions, *fast.tokens)]
    other = [nn.Conv2d] * 3
    assert kinds[:5] == [OneDnnPointwise, *other, OneDnnPointwise]
    assert kinds[5:] == [OneDnnLinear, NonDynamicallyQuantizableLinear]
    fast.load_state_dict(plain.state_dict())
    assert list(fast.state_dict()) == list(plain.state_dict())

    x = torch.randn(2, 6, 9, 6)
    found, expected = fast(x), plain(x)
    torch.testing.assert_close(found, expected)
    for one, result in ((fast, found), (plain, expected)):
        one.zero_grad()
        result.square().sum().backward()
    for (name, ours), theirs in zip(fast.named_parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad, msg=name)


def test_other_precisions_and_devices_compute_as_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = nn.Linear(6, 4, dtype=torch.float64)
    fast = deepcopy(plain)
    accelerate(fast)
    monkeypatch.setattr(F, "conv2d", None)  # what the fast path would call
    x = torch.randn(2, 6, dtype=torch.float64)
    assert torch.equal(fast(x), plain(x))
    meta = fast.to("meta", torch.float32)
    assert meta(torch.empty(2, 6, device="meta")).shape == (2, 4)
