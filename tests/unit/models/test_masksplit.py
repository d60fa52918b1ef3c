"""MaskSplit against plain convolutions and loops."""

from collections.abc import Callable

import torch
import torch.nn.functional as F

from umtfss.episodes.batch import EpisodeBatch
from umtfss.experiment.model import ModelConfig
from umtfss.models.build import build_model
from umtfss.models.masksplit import MaskSplit, cosine

MakeBatch = Callable[..., EpisodeBatch]


def average(tokens: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """(C,) mean over shots of the masked average of (K, C, h, w) maps, by loops."""
    means = []
    for grid, weight in zip(tokens, mask, strict=True):
        total = torch.zeros(len(grid))
        for i, j in weight.nonzero():
            total += weight[i, j] * grid[:, i, j]
        means.append(total / (weight.sum() + 0.0005))
    return torch.stack(means).mean(0)


@torch.no_grad()
def test_equals_plain_convolutions(make_batch: MakeBatch) -> None:
    batch = make_batch(shots=2, shape=(8, 8), grid=(8, 8))
    model = build_model("masksplit", ModelConfig(width=16, heads=4), [12]).eval()
    assert isinstance(model, MaskSplit)
    logits = model(batch)
    for row in range(3):
        query, support = model.mid(batch.query_mid[row, None])[0], model.mid(batch.support_mid[row])
        prototype = average(support, batch.support_mask[row])
        high = average(batch.support_high[row], batch.support_mask[row])
        grid = torch.cat(
            [
                query,
                prototype[:, None, None].expand_as(query),
                F.cosine_similarity(query, prototype[:, None, None], dim=0)[None],
                F.cosine_similarity(batch.query_high[row], high[:, None, None], dim=0)[None],
            ]
        )
        expected = model.last(model.second(model.first(grid[None]).relu()).relu())
        torch.testing.assert_close(logits[row, None], expected, atol=1e-5, rtol=1e-4)


def test_cosine_of_nothing_is_zero_with_a_finite_gradient() -> None:
    tokens, vector = torch.randn(2, 3, 4), torch.zeros(2, 4, requires_grad=True)
    found = cosine(tokens, vector)
    found.sum().backward()
    assert not found.any()
    assert vector.grad is not None
    assert vector.grad.isfinite().all()


def test_loss_is_pixel_cross_entropy(make_batch: MakeBatch) -> None:
    batch = make_batch()
    assert batch.target is not None
    model = build_model("masksplit", ModelConfig(width=16, heads=4), [12]).eval()
    outputs = model.outputs(batch)
    large = F.interpolate(outputs[0], (40, 40), mode="bilinear", align_corners=False)
    expected = F.cross_entropy(large, batch.target, ignore_index=255)
    torch.testing.assert_close(model.total_loss(outputs, batch), expected)


def test_the_supports_half_is_never_counted(make_batch: MakeBatch) -> None:
    """Even where the preset of UMTFSS's release counts label 255."""
    batch = make_batch()
    assert batch.target is not None
    model = build_model("masksplit", ModelConfig(preset="release", width=16, heads=4), [12]).eval()
    logits = model(batch)
    assert (batch.target == 255).any()
    turned = batch.target.clone()
    turned[turned == 255] = 1
    large = F.interpolate(logits, (40, 40), mode="bilinear", align_corners=False)
    expected = F.cross_entropy(large, batch.target, ignore_index=255)
    torch.testing.assert_close(model.loss(logits, batch.target), expected)
    assert not torch.allclose(model.loss(logits, turned), expected)
