"""CyCTR: the cycle against loops, the sampling, the support's loss."""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from umtfss.episodes.batch import EpisodeBatch
from umtfss.experiment.model import ModelConfig
from umtfss.models.build import build_model
from umtfss.models.cyctr import CycleAttention, CyCTR, consistent_tokens, training_scale
from umtfss.models.layers.dice import dice_loss

MakeBatch = Callable[..., EpisodeBatch]


def make_model(**keys: Any) -> CyCTR:
    torch.manual_seed(0)
    model = build_model("cyctr", ModelConfig().changed({"width": 16, "heads": 4, **keys}), [12])
    assert isinstance(model, CyCTR)
    return model.eval()


def cycle_by_loops(
    query: np.ndarray,
    key: np.ndarray,
    keep: np.ndarray,
    foreground: np.ndarray,
    valid: np.ndarray,
) -> np.ndarray:
    found = np.zeros((*key.shape[:2], key.shape[2]), bool)
    for image in range(len(query)):
        for head in range(query.shape[1]):
            affinity = query[image, head] @ key[image, head].T
            queries, keys = np.flatnonzero(valid[image]), np.flatnonzero(keep[image])
            for j in keys:
                i = queries[affinity[queries, j].argmax()]
                k = keys[affinity[i, keys].argmax()]
                found[image, head, j] = foreground[image, j] == foreground[image, k]
    return found


@pytest.mark.parametrize("shape", [(20, 13), (11, 30)])  # fewer and more support tokens
def test_cycle_equals_loops(shape: tuple[int, int]) -> None:
    random = np.random.default_rng(0)
    query = random.normal(size=(3, 4, shape[0], 5)).astype(np.float32)
    key = random.normal(size=(3, 4, shape[1], 5)).astype(np.float32)
    keep, valid = (random.random((3, n)) < 0.7 for n in (shape[1], shape[0]))
    foreground = random.random((3, shape[1])) < 0.4
    arguments = (query, key, keep, foreground, valid)
    expected = cycle_by_loops(*arguments)
    found = consistent_tokens(*map(torch.from_numpy, arguments)).numpy()
    np.testing.assert_array_equal(found, expected)
    assert 0 < expected.sum() < 4 * keep.sum()
    assert expected.any(2).all()


@torch.no_grad()
def test_attention_equals_softmax_with_a_mask() -> None:
    torch.manual_seed(0)
    layer = CycleAttention(8, 2)
    x, context = torch.randn(2, 9, 8), torch.randn(2, 7, 8)
    there = torch.ones(2, 7, dtype=torch.bool)
    there[1, 5:] = False
    shown = there.clone()
    shown[0, 2] = False  # in the cycle, not in the attention
    valid = torch.ones(2, 9, dtype=torch.bool)
    foreground = (torch.arange(7) < 3).repeat(2, 1)
    q, k, v = (
        one.view(2, -1, 2, 4).transpose(1, 2)
        for one in (layer.query(x), layer.key(context), layer.value(context))
    )
    mask = consistent_tokens(q, k, there, foreground, valid) & shown[:, None]
    affinity = (q @ k.transpose(2, 3)) / 2
    attended = affinity.masked_fill(~mask[:, :, None], -torch.inf).softmax(-1) @ v
    expected = layer.output(attended.transpose(1, 2).flatten(2))
    found = layer(x, context, there, shown, foreground, valid)
    torch.testing.assert_close(found, expected)


@torch.no_grad()
def test_all_masked_out_falls_back_to_all_that_are_there() -> None:
    """NaN wins every argmax: the cycle of all tokens ends at the absent one, of the other kind."""
    layer = CycleAttention(4, 1)
    context = torch.randn(1, 4, 4)
    context[0, 0] = torch.nan
    there = torch.tensor([[False, False, True, True]])
    foreground = torch.tensor([[True, True, False, False]])
    q, k = layer.query(torch.randn(1, 3, 4))[:, None], layer.key(context)[:, None]
    valid = torch.ones(1, 3, dtype=torch.bool)
    assert not consistent_tokens(q, k, there, foreground, valid).any()
    context[0, 0] = 0
    seen = []
    layer._attend = lambda q, k, v, keep: seen.append(keep)  # type: ignore[method-assign]
    every = torch.zeros(1, 1, 4, dtype=torch.bool)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("umtfss.models.cyctr.consistent_tokens", lambda *_: every)
        layer(torch.randn(1, 3, 4), context, there, there, foreground, valid)
    assert seen[0].flatten().tolist() == there[0].tolist()


@torch.no_grad()
def test_a_tenth_of_the_inconsistent_is_spared_in_training(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(
        "umtfss.models.cyctr.consistent_tokens",
        lambda q, k, there, *_: torch.zeros(len(q), 2, k.shape[2], dtype=torch.bool),
    )
    layer, seen = CycleAttention(8, 2, spared=0.1), []
    layer._attend = lambda q, k, v, keep: seen.append(keep.float().mean().item())  # type: ignore[method-assign]
    there = torch.ones(4, 5000, dtype=torch.bool)
    arguments = (torch.randn(4, 3, 8), torch.randn(4, 5000, 8), there, there, there, there[:, :3])
    torch.manual_seed(0)
    layer.train()(*arguments)
    layer.eval()(*arguments)
    assert seen[0] == pytest.approx(0.1, abs=0.01)
    assert seen[1] == 1  # all are inconsistent, so none is masked out


@torch.no_grad()
def test_samples_of_all_shots_together(make_batch: MakeBatch) -> None:
    batch = make_batch(shots=2)
    model = make_model(cycle_tokens=6)
    support = torch.arange(200.0).view(1, 200, 1).expand(3, -1, 16)
    sample = model._sample(batch, support, 0)
    mask = (batch.support_mask > 0.5).flatten(1)
    valid = batch.support_valid.flatten(1)
    for row in range(3):
        place = sample.tokens[row, sample.there[row], 0].long()
        assert len(place) == len(place.unique()) == 24  # 12 + 12, filled up if one has fewer
        assert valid[row, place].all()
        assert torch.equal(mask[row, place], sample.foreground[row][sample.there[row]])
        assert mask[row, place].sum() == min(12, mask[row].sum())
    assert torch.equal(model._sample(batch, support, 0).tokens, sample.tokens)
    assert torch.equal(model._sample(batch, support, 1).tokens, sample.tokens)  # at test, once


@torch.no_grad()
def test_seen_padding_is_drawn_as_background_but_not_shown(make_batch: MakeBatch) -> None:
    batch = make_batch()
    model = make_model(cycle_tokens=60, padding="seen", token_masks="sampled")
    sample = model._sample(batch, torch.zeros(3, 100, 16), 0)
    assert sample.there.all()
    assert sample.tokens.shape[1] == 100
    assert torch.equal(sample.shown.sum(1), batch.support_valid.flatten(1).sum(1))


@torch.no_grad()
def test_training_draws_anew_for_each_layer_and_varies_the_count(make_batch: MakeBatch) -> None:
    support = torch.arange(100.0).view(1, 100, 1).expand(64, -1, 16)
    batch = make_batch(batch=64, grid=(10, 10), shape=(10, 10))
    fixed, varied = make_model(cycle_tokens=5, cycle_tokens_vary=False), make_model(cycle_tokens=5)
    assert fixed.train()._sample(batch, support, 0).there.sum(1).tolist() == [10] * 64
    assert varied._sample(batch, support, 0).there.sum(1).tolist() == [10] * 64
    varied.train()
    first, second = (varied._sample(batch, support, layer) for layer in (0, 1))
    count = first.there.sum(1)
    assert count.min() == 6  # 0.6 times 5, twice
    assert count.max() in (36, 38)  # just below 4 times 5, rounded down
    assert not torch.equal(count, second.there.sum(1))
    alone = varied._sample(
        dataclasses.replace(
            batch,
            key=batch.key[5:6],
            support_mask=batch.support_mask[5:6],
            support_valid=batch.support_valid[5:6],
        ),
        support[:1],
        0,
    )
    assert alone.there.sum() == count[5]
    key = torch.arange(1000)
    assert training_scale(key, 0, 1).max() == pytest.approx(4, abs=0.02)
    assert training_scale(key, 0, 5).max() == pytest.approx(1.4, abs=0.01)
    assert training_scale(key, 0, 5).min() == pytest.approx(0.6, abs=0.01)


def test_loss_is_dice_of_query_and_of_supports(make_batch: MakeBatch) -> None:
    batch, model = make_batch(shots=2), make_model()
    assert batch.target is not None
    assert batch.support_target is not None
    logits, auxiliary = outputs = model.outputs(batch)
    assert auxiliary.shape == (6, 2, 10, 10)
    expected = dice_loss(logits, batch.target, True, False)
    for shot in (0, 1):
        own = dice_loss(auxiliary[shot::2], batch.support_target[:, shot], True, False)
        expected = expected + own / 2
    torch.testing.assert_close(model.total_loss(outputs, batch), expected)


def test_auxiliary_loss_trains_the_transformer(make_batch: MakeBatch) -> None:
    batch, model = make_batch(shots=2), make_model()
    outputs = model.outputs(batch)
    assert batch.support_target is not None
    model.loss(outputs[1], batch.support_target.flatten(0, 1)).backward()
    gradients = {name: p.grad for name, p in model.named_parameters()}
    for name in ("cross.1.attention.value.weight", "query_self.0.attention.value.weight"):
        assert gradients[name] is not None
        assert gradients[name].abs().max() > 1e-6
    assert gradients["head.0.weight"] is None


def test_parameters_are_as_many_as_the_releases() -> None:
    """7.5 million, on layers 2 and 3 of a ResNet-50; the release has a projection more, unused."""
    model = build_model("cyctr", ModelConfig(), [1536])
    assert sum(p.numel() for p in model.parameters()) == pytest.approx(7.5e6, rel=0.03)


@torch.no_grad()
def test_cycle_matters(make_batch: MakeBatch, monkeypatch: pytest.MonkeyPatch) -> None:
    batch, model = make_batch(), make_model()
    logits = model(batch)
    monkeypatch.setattr(
        "umtfss.models.cyctr.consistent_tokens", lambda q, k, there, *_: there[:, None]
    )
    assert not torch.allclose(model(batch), logits, atol=1e-4)
