"""Linear maps of tokens and of feature grids, on the faster of torch's two CPU libraries.

Models use `nn.Linear` and `nn.Conv2d`; `accelerate` changes how these layers of a model compute.

On a CPU, torch multiplies fp32 matrices with MKL and convolves with oneDNN. On AMD processors MKL
uses AVX2 at most (measured: 105 GFLOP/s on one Zen 5 core); oneDNN uses all that the processor has
(240 GFLOP/s). So tokens go to oneDNN as the pixels of a 1x1 convolution. Torch on one thread hands
small batches of 1x1 convolutions to MKL, but dilated convolutions always to oneDNN. The convolution
is therefore dilated, which changes nothing for a 1x1 kernel.

Shapes: B batch, C input channels, D output channels, h w feature grid.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def _uses_onednn(x: Tensor) -> bool:
    return (
        x.device.type == "cpu"
        and x.dtype in (torch.float32, torch.bfloat16)
        and torch.backends.mkldnn.is_available()
    )


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """The linear map of `F.linear`, equal up to rounding, (..., D).

    Args:
        x: (..., C) tokens.
        weight: (D, C).
        bias: (D,), or None.
    """
    if not _uses_onednn(x):
        return F.linear(x, weight, bias)
    pixels = x.reshape(1, -1, 1, x.shape[-1]).permute(0, 3, 1, 2)  # channels-last, no copy
    mapped = F.conv2d(pixels, weight[:, :, None, None], bias, dilation=2)
    return mapped.permute(0, 2, 3, 1).reshape(*x.shape[:-1], len(weight))


class OneDnnLinear(nn.Linear):
    """`nn.Linear` through `linear`."""

    def forward(self, input: Tensor) -> Tensor:
        """(..., D) of (..., C) tokens."""
        return linear(input, self.weight, self.bias)


class OneDnnPointwise(nn.Conv2d):
    """A 1x1 `nn.Conv2d` through `linear`: the same linear map at every position of a grid."""

    def forward(self, input: Tensor) -> Tensor:
        """(B, D, h, w) of a (B, C, h, w) map."""
        dilation = 2 if _uses_onednn(input) else 1
        return F.conv2d(input, self.weight, self.bias, dilation=dilation)


def accelerate(model: nn.Module) -> None:
    """Let the linear layers and 1x1 convolutions of a model compute with oneDNN where that pays.

    Parameters and their names stay; results stay up to rounding. On devices other than the CPU, and
    in precisions other than fp32 and bf16, the layers compute as torch's own.

    Args:
        model: The model; changed in place.
    """
    for module in model.modules():
        if type(module) is nn.Linear:
            module.__class__ = OneDnnLinear
        elif type(module) is nn.Conv2d and _is_pointwise(module):
            module.__class__ = OneDnnPointwise


def _is_pointwise(layer: nn.Conv2d) -> bool:
    shape = (layer.kernel_size, layer.stride, layer.padding, layer.groups)
    return shape == ((1, 1), (1, 1), (0, 0), 1)
