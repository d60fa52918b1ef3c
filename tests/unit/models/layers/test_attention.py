"""Multi-head attention against torch's, and the dropouts."""

import pytest
import torch
from torch import nn

from umtfss.models.layers.attention import (
    CrossAttention,
    Dropout,
    FeedForward,
    MultiHeadAttention,
    SelfAttention,
)


def torch_twin(ours: MultiHeadAttention, width: int, heads: int) -> nn.MultiheadAttention:
    twin = nn.MultiheadAttention(width, heads, batch_first=True)
    with torch.no_grad():
        twin.in_proj_weight.copy_(
            torch.cat([ours.query.weight, ours.key.weight, ours.value.weight])
        )
        twin.in_proj_bias.zero_()
        twin.out_proj.weight.copy_(ours.output.weight)
        twin.out_proj.bias.zero_()
    return twin


def test_cross_attention_equals_torch() -> None:
    ours = CrossAttention(16, 4)
    x, context = torch.randn(2, 6, 16), torch.randn(2, 5, 16)
    keep = torch.tensor([[True] * 5, [True, False, True, True, False]])
    expected, _ = torch_twin(ours, 16, 4)(x, context, context, key_padding_mask=~keep)
    torch.testing.assert_close(ours(x, context, keep), expected, atol=1e-5, rtol=1e-5)


def test_self_attention_equals_torch_and_places_queries_and_keys_only() -> None:
    ours = SelfAttention(16, 2)
    x, position = torch.randn(2, 6, 16), torch.randn(2, 6, 16)
    valid = torch.ones(2, 2, 3, dtype=torch.bool)
    valid[1, 1, 2] = False
    placed = x + position
    expected, _ = torch_twin(ours, 16, 2)(placed, placed, x, key_padding_mask=~valid.flatten(1))
    torch.testing.assert_close(ours(x, position, valid), expected, atol=1e-5, rtol=1e-5)


def test_nothing_to_attend_to_gives_no_nan() -> None:
    attention = CrossAttention(8, 2)
    out = attention(torch.randn(1, 3, 8), torch.randn(1, 4, 8), torch.zeros(1, 4).bool())
    assert out.isfinite().all()


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_dropout_drops_and_scales(rate: float) -> None:
    torch.manual_seed(0)
    x = torch.ones(301, 333, requires_grad=True)  # not a multiple of 4
    out = Dropout(rate)(x)
    out.sum().backward()
    kept = out != 0
    assert kept.float().mean().item() == pytest.approx(1 - rate, abs=0.006)
    torch.testing.assert_close(out[kept], torch.full_like(out[kept], 1 / (1 - rate)))
    assert x.grad is not None
    torch.testing.assert_close(x.grad, out.detach())
    rows = kept.float().mean(1)
    assert rows.std() < 2 * (rate * (1 - rate) / 333) ** 0.5  # spread over all places alike
    assert torch.equal(Dropout(rate).eval()(x), x)


def test_feed_forward_gradient_equals_autograd() -> None:
    layer = FeedForward(6, 3, 0.3)
    x = torch.randn(2, 5, 6, requires_grad=True)
    torch.manual_seed(1)
    out = layer(x)
    weight = torch.randn_like(out)
    inputs = [x, *layer.parameters()]
    found = torch.autograd.grad((out * weight).sum(), inputs)

    # the same mask, drawn by dropping ones
    torch.manual_seed(1)
    mask = Dropout(0.3)(torch.ones(10, 18))
    hidden = torch.relu(x.flatten(0, 1) @ layer.expand.weight.T) * mask
    same = (hidden @ layer.reduce.weight.T).view(out.shape)
    torch.testing.assert_close(out, same)
    expected = torch.autograd.grad((same * weight).sum(), inputs)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(
        layer.eval()(x), layer.reduce(torch.relu(layer.expand(x))), atol=1e-6, rtol=1e-5
    )


def test_attention_weights_are_dropped_in_training_alone() -> None:
    torch.manual_seed(0)
    layer, plain = CrossAttention(16, 4, dropout=0.5), CrossAttention(16, 4)
    plain.load_state_dict(layer.state_dict())
    x, context, keep = torch.randn(2, 6, 16), torch.randn(2, 5, 16), torch.ones(2, 5).bool()
    with torch.no_grad():
        expected = plain(x, context, keep)
        torch.testing.assert_close(layer.eval()(x, context, keep), expected)
        drawn = torch.stack([layer.train()(x, context, keep) for _ in range(2000)])
    assert not torch.allclose(drawn[0], expected, atol=1e-3)
    torch.testing.assert_close(drawn.mean(0), expected, atol=0.05, rtol=0)
