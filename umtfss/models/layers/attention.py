"""Transformer blocks and multi-head attention.

Shapes: B batch, N query tokens, M context tokens, d model width.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable


def _keep_mask(x: Tensor, rate: float) -> Tensor:
    """A bool mask of the shape of `x`, True with probability 1 - rate.

    An element takes 16 random bits, so the rate is exact to 2^-16. On a CPU this takes a third of
    the time of Bernoulli numbers, a noticeable part of a training step, because the bits come from
    numpy. Numpy is four times as fast as torch here; its seed comes from torch's generator.
    """
    count = (x.numel() + 3) // 4
    if x.is_cpu:
        seed = int(torch.randint(2**63 - 1, ()))
        words = torch.from_numpy(np.random.SFC64(seed).random_raw(count).view(np.int64))
    else:
        words = torch.randint(-(2**63), 2**63 - 1, (count,), device=x.device)
    bits = words.view(torch.int16)[: x.numel()].view(x.shape)
    return bits >= round(rate * 2**16) - 2**15


class _ReluDropout(torch.autograd.Function):
    """ReLU and dropout that keep only their output, which the next layer stores anyway.

    An element passes its gradient on if and only if its output is positive.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, rate: float) -> Tensor:
        ctx.scale = 1 / (1 - rate)
        output = x.relu().mul_(_keep_mask(x, rate).to(x.dtype).mul_(ctx.scale))
        ctx.save_for_backward(output)
        return output

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (output,) = ctx.saved_tensors
        return torch.ops.aten.threshold_backward(gradient, output, 0).mul_(ctx.scale), None


class FeedForward(nn.Module):
    """Two layers without bias, with ReLU and dropout between them.

    Args:
        width: d.
        ratio: Hidden width over d.
        dropout: Rate on the hidden layer.
    """

    def __init__(self, width: int, ratio: int, dropout: float) -> None:
        super().__init__()
        self.rate = dropout
        self.expand = nn.Linear(width, ratio * width, bias=False)
        self.reduce = nn.Linear(ratio * width, width, bias=False)
        for layer in (self.expand, self.reduce):
            nn.init.xavier_uniform_(layer.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Transform every token by itself, (B, N, d).

        Args:
            x: (B, N, d).
        """
        hidden = self.expand(x)
        if self.training and self.rate > 0:
            hidden = _ReluDropout.apply(hidden, self.rate)
        else:
            hidden = F.relu(hidden)  # in place would cost more: a view of a convolution's output
        return self.reduce(hidden)


class Dropout(nn.Module):
    """Dropout of single elements.

    Args:
        rate: Probability that an element is dropped, below 1.
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        """In training, drop elements and scale up the rest; else return the input."""
        if not self.training or self.rate == 0:
            return x
        return x * _keep_mask(x, self.rate).to(x.dtype).mul_(1 / (1 - self.rate))


class MultiHeadAttention(nn.Module):
    """Multi-head scaled dot-product attention (Eq. 1 of the paper in every head).

    No projection has a bias.

    Args:
        width: d.
        heads: Number of heads, a divisor of d.
        dropout: Rate on the attention weights; above 0, training does not use the fused kernels.
    """

    def __init__(self, width: int, heads: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.heads, self.rate = heads, dropout
        self.query = nn.Linear(width, width, bias=False)
        self.key = nn.Linear(width, width, bias=False)
        self.value = nn.Linear(width, width, bias=False)
        self.output = nn.Linear(width, width, bias=False)
        for layer in (self.query, self.key, self.value, self.output):
            nn.init.xavier_uniform_(layer.weight)

    def forward(self, query: Tensor, key: Tensor, value: Tensor, keep: Tensor) -> Tensor:
        """The attended values, (B, N, d).

        Args:
            query: (B, N, d).
            key: (B, M, d).
            value: (B, M, d).
            keep: (B, M) bool, context tokens that may be attended to.
        """
        q, k, v = self._split(self.query(query), self.key(key), self.value(value))
        return self._attend(q, k, v, keep[:, None, None])

    def _split(self, *mapped: Tensor) -> Iterator[Tensor]:
        """Split each (B, n, d) into heads, (B, heads, n, d / heads)."""
        return (x.unflatten(2, (self.heads, -1)).transpose(1, 2) for x in mapped)

    def _attend(self, query: Tensor, key: Tensor, value: Tensor, keep: Tensor) -> Tensor:
        """The attended values of split heads, (B, N, d); `keep` broadcasts to (B, heads, N, M)."""
        rate = self.rate if self.training else 0.0
        attended = F.scaled_dot_product_attention(query, key, value, keep, dropout_p=rate)
        return self.output(attended.transpose(1, 2).flatten(2))


class SelfAttention(MultiHeadAttention):
    """Multi-head attention among an image's tokens; queries and keys carry their position."""

    def forward(  # type: ignore[override]  # query, key and value are one input
        self, x: Tensor, position: Tensor, valid: Tensor
    ) -> Tensor:
        """The attended tokens, (B, N, d).

        Args:
            x: (B, N, d).
            position: (B, N, d), position encoding.
            valid: (B, h, w) bool with h * w = N.
        """
        placed = x + position
        return super().forward(placed, placed, x, valid.flatten(1))


class CrossAttention(MultiHeadAttention):
    """Multi-head attention from query to context tokens (Eq. 1, or Eq. 6 with prototypes)."""

    def forward(  # type: ignore[override]  # the context is key and value
        self, x: Tensor, context: Tensor, keep: Tensor
    ) -> Tensor:
        """The attended context, (B, N, d).

        Args:
            x: (B, N, d).
            context: (B, M, d).
            keep: (B, M) bool, context tokens that may be attended to.
        """
        return super().forward(x, context, context, keep)


class TransformerBlock(nn.Module):
    """Attention and a feed-forward network, each followed by residual and norm (Eq. 2).

    Args:
        attention: Attention layer, called with the tokens and the block's context.
        width: d.
        ffn_ratio: Hidden width of the feed-forward network over d.
        dropout: Rate, on the hidden layer and on both branches.
    """

    def __init__(self, attention: nn.Module, width: int, ffn_ratio: int, dropout: float) -> None:
        super().__init__()
        self.attention = attention
        self.attention_norm = nn.LayerNorm(width)
        self.ffn = FeedForward(width, ffn_ratio, dropout)
        self.ffn_norm = nn.LayerNorm(width)
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor, *context: Tensor) -> Tensor:
        """The transformed tokens, (B, N, d).

        Args:
            x: (B, N, d).
            *context: Further arguments of the attention.
        """
        x = self.attention_norm(x + self.dropout(self.attention(x, *context)))
        return self.ffn_norm(x + self.dropout(self.ffn(x)))
