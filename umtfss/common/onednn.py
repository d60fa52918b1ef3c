"""Linear maps of tokens and of feature grids, on the faster of torch's two CPU libraries.

On a CPU torch multiplies fp32 matrices with MKL, which on AMD processors stops at AVX2 (measured:
105 GFLOP/s of one Zen 5 core), and convolves with oneDNN, which uses what the processor has (240).
So tokens go to oneDNN as the pixels of a 1x1 convolution. A single-threaded torch hands a small
batch of 1x1 convolutions to MKL again, but a dilated one always to oneDNN; the dilation of a 1x1
kernel changes nothing.

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
    """(..., D) the linear map of `F.linear`, equal up to rounding.

    Args:
        x: (..., C).
        weight: (D, C).
        bias: (D,), or None.
    """
    if not _uses_onednn(x):
        return F.linear(x, weight, bias)
    pixels = x.reshape(1, -1, 1, x.shape[-1]).permute(0, 3, 1, 2)  # channels-last, no copy
    mapped = F.conv2d(pixels, weight[:, :, None, None], bias, dilation=2)
    return mapped.permute(0, 2, 3, 1).reshape(*x.shape[:-1], len(weight))


class Linear(nn.Linear):
    """`nn.Linear` through `linear`: same parameters, same initialisation."""

    def forward(self, input: Tensor) -> Tensor:
        """(..., D) of (..., C) tokens."""
        return linear(input, self.weight, self.bias)


class Pointwise(nn.Conv2d):
    """A 1x1 convolution, the linear map of every position of a grid.

    Args:
        channels: C.
        width: D.
        bias: Whether there is one.
    """

    def __init__(self, channels: int, width: int, bias: bool = True) -> None:
        super().__init__(channels, width, 1, bias=bias)

    def forward(self, input: Tensor) -> Tensor:
        """(B, D, h, w) of a (B, C, h, w) map."""
        dilation = 2 if _uses_onednn(input) else 1
        return F.conv2d(input, self.weight, self.bias, dilation=dilation)
