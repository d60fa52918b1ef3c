"""CyCTR: the cycle against loops, the sampling, the support's loss."""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from umtfss.config import ModelConfig
from umtfss.episodes.batch import EpisodeBatch
from umtfss.models import build_model
from umtfss.models.cyctr import CycleAttention, CyCTR, consistent_tokens
from umtfss.models.layers.dice import dice_loss

MakeBatch = Callable[..., EpisodeBatch]


def make_model(**keys: Any) -> CyCTR:
    torch.manual_seed(0)
    model = build_model("cyctr", ModelConfig(**{"width": 16, "heads": 4, **keys}), 12)
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
                found[image, head, j] = foreground[j] == foreground[k]
    return found


@pytest.mark.parametrize("shape", [(20, 13), (11, 30)])  # fewer and more support tokens
def test_cycle_equals_loops(shape: tuple[int, int]) -> None:
    random = np.random.default_rng(0)
    query = random.normal(size=(3, 4, shape[0], 5)).astype(np.float32)
    key = random.normal(size=(3, 4, shape[1], 5)).astype(np.float32)
    keep, valid = (random.random((3, n)) < 0.7 for n in (shape[1], shape[0]))
    foreground = random.random(shape[1]) < 0.4
    arguments = (query, key, keep, foreground, valid)
    expected = cycle_by_loops(*arguments)
    found = consistent_tokens(*map(torch.from_numpy, arguments)).numpy()
    np.testing.assert_array_equal(found, expected)
    assert 0 < expected.sum() < 4 * keep.sum()
    assert expected.any(2).all()


def test_all_masked_out_falls_back_to_all_that_are_there() -> None:
    """Equal affinities end every cycle at the first token that is there."""
    query, key = torch.zeros(1, 1, 3, 2), torch.zeros(1, 1, 4, 2)
    keep = torch.tensor([[False, True, True, True]])
    valid = torch.ones(1, 3, dtype=torch.bool)
    foreground = torch.tensor([True, True, False, False])
    found = consistent_tokens(query, key, keep, foreground, valid)
    assert found.tolist() == [[[False, True, False, False]]]
    none = torch.zeros_like(keep)
    assert not consistent_tokens(query, key, none, foreground, valid).any()
    # NaN wins every argmax: the cycle of all tokens ends at the absent one, of the other kind.
    key[0, 0, 0] = torch.nan
    keep = torch.tensor([[False, False, True, True]])
    found = consistent_tokens(query, key, keep, foreground, valid)
    assert found.tolist() == [[[False, False, True, True]]]


@torch.no_grad()
def test_attention_equals_softmax_with_a_mask() -> None:
    torch.manual_seed(0)
    layer = CycleAttention(8, 2)
    x, context = torch.randn(2, 9, 8), torch.randn(2, 7, 8)
    keep = torch.ones(2, 7, dtype=torch.bool)
    keep[1, 5:] = False
    valid = torch.ones(2, 9, dtype=torch.bool)
    foreground = torch.arange(7) < 3
    q, k, v = (
        one.view(2, -1, 2, 4).transpose(1, 2)
        for one in (layer.query(x), layer.key(context), layer.value(context))
    )
    mask = consistent_tokens(q, k, keep, foreground, valid)
    affinity = (q @ k.transpose(2, 3)) / 2
    attended = affinity.masked_fill(~mask[:, :, None], -torch.inf).softmax(-1) @ v
    expected = layer.output(attended.transpose(1, 2).flatten(2))
    torch.testing.assert_close(layer(x, context, keep, foreground, valid), expected)


@torch.no_grad()
def test_samples_of_every_shot(make_batch: MakeBatch) -> None:
    batch = make_batch(shots=2)
    model = make_model(cycle_tokens=6)
    support = torch.arange(3 * 2 * 100.0).view(6, 100, 1).expand(-1, -1, 16)
    tokens, keep, foreground = model._sample(batch, support)
    mask = (batch.support_mask > 0.5).flatten()
    valid = batch.support_valid.flatten()
    for row in range(3):
        place = tokens[row, keep[row], 0].long()
        assert len(place.unique()) == len(place)
        assert valid[place].all()
        assert torch.equal(mask[place], foreground[keep[row]])
        for shot in range(2):
            own = place[place // 100 == 2 * row + shot]
            inside = mask[(2 * row + shot) * 100 :][:100].sum().item()
            assert mask[own].sum() == min(6, inside)
            assert (~mask[own]).sum() == 6
    again = model._sample(batch, support)[0]
    assert torch.equal(again, tokens)


@torch.no_grad()
def test_training_varies_the_count_by_the_key(make_batch: MakeBatch) -> None:
    support = torch.zeros(64, 100, 16)
    batch = make_batch(batch=64, grid=(10, 10), shape=(10, 10))
    fixed, varied = make_model(cycle_tokens=5, cycle_tokens_vary=False), make_model(cycle_tokens=5)
    assert fixed.train()._sample(batch, support)[1].sum(1).max() <= 10
    assert varied._sample(batch, support)[1].sum(1).max() <= 10
    _, keep, foreground = varied.train()._sample(batch, support)
    count = keep[:, ~foreground].sum(1)
    assert count.min() in (3, 4)
    assert count.max() in (19, 20)
    _, alone, kind = varied._sample(
        dataclasses.replace(
            batch,
            key=batch.key[5:6],
            support_mask=batch.support_mask[5:6],
            support_valid=batch.support_valid[5:6],
        ),
        support[:1],
    )
    assert alone[:, ~kind].sum() == count[5]


def test_loss_is_dice_of_query_and_of_support(make_batch: MakeBatch) -> None:
    batch, model = make_batch(shots=2), make_model()
    assert batch.target is not None
    logits, auxiliary = outputs = model.outputs(batch)
    assert auxiliary.shape == (6, 2, 10, 10)
    target = torch.full((6, 10, 10), 255)
    for image, (mask, valid) in enumerate(
        zip(batch.support_mask.flatten(0, 1), batch.support_valid.flatten(0, 1), strict=True)
    ):
        target[image][valid] = (mask[valid] > 0.5).long()
    expected = dice_loss(logits, batch.target, True, False)
    expected = expected + dice_loss(auxiliary, target, True, False)
    torch.testing.assert_close(model.total_loss(outputs, batch), expected)


@torch.no_grad()
def test_cycle_matters(make_batch: MakeBatch, monkeypatch: pytest.MonkeyPatch) -> None:
    batch, model = make_batch(), make_model()
    logits = model(batch)
    monkeypatch.setattr(
        "umtfss.models.cyctr.consistent_tokens", lambda q, k, keep, *_: keep[:, None]
    )
    assert not torch.allclose(model(batch), logits, atol=1e-4)
