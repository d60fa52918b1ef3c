"""HSNet: what its correlations depend on, and that it learns."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from umtfss.episodes.batch import EpisodeBatch
from umtfss.experiment.model import ModelConfig
from umtfss.models.build import build_model
from umtfss.models.hsnet import HSNet
from umtfss.models.layers import correlation

MakeBatch = Callable[..., EpisodeBatch]


def make_model(*channels: int) -> HSNet:
    torch.manual_seed(0)
    model = build_model("hsnet", ModelConfig(), channels)
    assert isinstance(model, HSNet)
    return model.eval()


def close(found: torch.Tensor, expected: torch.Tensor) -> None:
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_the_scale_of_a_level_does_not_matter(make_batch: MakeBatch) -> None:
    model, batch = make_model(5, 7), make_batch()
    factor = torch.tensor([3.0] * 5 + [0.2] * 7)[:, None, None]
    scaled = replace(
        batch, query_mid=batch.query_mid * factor, support_mid=batch.support_mid / factor
    )
    close(model(scaled), model(batch))


@torch.no_grad()
def test_levels_of_a_group_have_no_order_but_that_of_their_weights(make_batch: MakeBatch) -> None:
    model, batch = make_model(3, 3, 3, 3), make_batch()  # groups of 2, 1 and 1 levels
    logits = model(batch)
    order = [*range(3, 6), *range(3), *range(6, 12)]
    swapped = replace(
        batch, query_mid=batch.query_mid[:, order], support_mid=batch.support_mid[:, :, order]
    )
    assert not torch.allclose(model(swapped), logits, atol=1e-3)
    first = model.squeeze[0].convolutions[0]
    for plane in (first.query_plane, first.support_plane):
        plane.weight.copy_(plane.weight.flip(1))
    close(model(swapped), logits)


@torch.no_grad()
def test_an_empty_mask_gives_one_finite_map_for_every_query(make_batch: MakeBatch) -> None:
    model, batch = make_model(12), make_batch()
    logits = model(replace(batch, support_mask=torch.zeros_like(batch.support_mask)))
    assert logits.isfinite().all()
    close(logits, logits[:1].expand_as(logits))


@torch.no_grad()
def test_background_of_the_support_does_not_matter(make_batch: MakeBatch) -> None:
    model, batch = make_model(12), make_batch()
    foreground = (batch.support_mask > 0)[:, :, None]
    noise = torch.where(foreground, batch.support_mid, torch.randn_like(batch.support_mid))
    close(model(replace(batch, support_mid=noise)), model(batch))


@torch.no_grad()
def test_padding_of_a_large_grid_does_not_matter(
    make_batch: MakeBatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(correlation, "LARGEST_SIDE", 4)  # squares of 3 x 3 tokens
    model, square = make_model(12), make_batch(shots=2)
    grids = ("mid", "high", "valid")
    names = [f"{role}_{one}" for role in ("query", "support") for one in grids] + ["support_mask"]
    trimmed = replace(square, side=10, **{k: getattr(square, k)[..., :7, :9] for k in names})
    logits = model(trimmed)
    assert logits.shape == (3, 2, 10, 10)
    close(logits, model(square))


@torch.no_grad()
def test_a_large_grid_is_averaged_and_its_logits_interpolated(
    make_batch: MakeBatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, batch = make_model(12), make_batch(shape=(8, 8), grid=(8, 8))
    small = make_batch(shape=(4, 4), grid=(4, 4))
    grids = ("query_mid", "support_mid", "support_mask")
    averaged = {
        name: torch.nn.functional.avg_pool2d(getattr(batch, name).flatten(0, -4), 2).view(
            getattr(small, name).shape
        )
        for name in grids
    }
    logits = model(replace(small, **averaged))
    monkeypatch.setattr(correlation, "LARGEST_SIDE", 4)
    expected = torch.nn.functional.interpolate(logits, scale_factor=2, mode="bilinear")
    close(model(batch), expected)


def test_it_learns_one_episode(make_batch: MakeBatch) -> None:
    model = make_model(4, 8)
    batch = make_batch(batch=1, shape=(8, 8), grid=(8, 8), seed=3)
    assert batch.target is not None
    optimiser = torch.optim.Adam(model.parameters(), 1e-3)
    for _ in range(25):
        loss = model.total_loss(model.outputs(batch), batch)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    with torch.no_grad():
        logits = model(batch)
    found, truth = logits[:, 1] > logits[:, 0], batch.target[:, 2::4, 2::4] == 1
    assert torch.equal(found, truth)
