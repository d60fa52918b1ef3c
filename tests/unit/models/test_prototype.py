"""The training-free floor."""

import dataclasses
from collections.abc import Callable

import torch
import torch.nn.functional as F

from umtfss.episodes.batch import EpisodeBatch
from umtfss.experiment.model import ModelConfig, PrototypeConfig
from umtfss.models.build import build_model

MakeBatch = Callable[..., EpisodeBatch]


def matcher(**keys: float) -> ModelConfig:
    return ModelConfig(prototype=PrototypeConfig.model_validate(keys))


def support_sums(batch: EpisodeBatch, row: int) -> torch.Tensor:
    """The sums of an episode's background and foreground tokens, (2, C), one token at a time."""
    sums = torch.zeros(2, batch.support_high.shape[2])
    for shot, i, j in batch.support_valid[row].nonzero():
        token = F.normalize(batch.support_high[row, shot, :, i, j], dim=0)
        share = batch.support_mask[row, shot, i, j]
        sums += torch.stack([(1 - share) * token, share * token])
    return sums


def test_equals_loops(make_batch: MakeBatch) -> None:
    batch = make_batch(shots=2)
    model = build_model("prototype", ModelConfig(), [12])
    logits = model(batch)
    assert not list(model.parameters())
    for row in range(3):
        query = F.normalize(batch.query_high[row], dim=0)
        prototypes = F.normalize(support_sums(batch, row), dim=1)
        expected = torch.einsum("pc,chw->phw", prototypes, query)
        torch.testing.assert_close(logits[row, :, :7, :9], expected[:, :7, :9])


def test_finds_what_looks_alike_and_ignores_padding(make_batch: MakeBatch) -> None:
    batch = make_batch()
    foreground, background = torch.randn(2, 10)
    high = torch.where(
        batch.support_mask[:, :, None] > 0.5,
        foreground[:, None, None],
        background[:, None, None],
    )
    noise = torch.randn(high.shape) * ~batch.support_valid[:, :, None] * 100
    batch = dataclasses.replace(batch, query_high=(high + noise)[:, 0], support_high=high - noise)
    logits = build_model("prototype", ModelConfig(), [12])(batch)
    found = logits.argmax(1)[batch.query_valid]
    assert torch.equal(found, (batch.support_mask[:, 0] > 0.5).long()[batch.query_valid])


def test_margin_and_self_support_equal_loops(make_batch: MakeBatch) -> None:
    batch = make_batch(shots=2)
    noise = torch.randn(batch.query_high.shape) * ~batch.query_valid[:, None]
    batch = dataclasses.replace(batch, query_high=batch.query_high + noise)
    plain = build_model("prototype", ModelConfig(), [12])(batch)
    margin = build_model("prototype", matcher(margin=0.1), [12])(batch)
    torch.testing.assert_close(margin[:, 0] - plain[:, 0], torch.full_like(plain[:, 0], 0.05))
    torch.testing.assert_close(plain[:, 1] - margin[:, 1], torch.full_like(plain[:, 0], 0.05))

    found = build_model("prototype", matcher(margin=0.1, self_support=True), [12])(batch)
    for row in range(len(batch)):
        supports = support_sums(batch, row)
        query, own = F.normalize(batch.query_high[row], dim=0), torch.zeros(2, 10)
        for i, j in batch.query_valid[row].nonzero():
            background, foreground = margin[row, :, i, j]
            own[int(foreground > background)] += query[:, i, j]
        prototypes = F.normalize(F.normalize(supports, dim=1) + F.normalize(own, dim=1), dim=1)
        expected = torch.einsum("pc,chw->phw", prototypes, query)
        expected += torch.tensor([0.05, -0.05])[:, None, None]
        valid = batch.query_valid[row]
        torch.testing.assert_close(found[row][:, valid], expected[:, valid])


def test_a_query_without_foreground_leaves_the_support_prototype(make_batch: MakeBatch) -> None:
    batch = make_batch()
    settings = matcher(margin=2, self_support=True)  # no cosine is so much larger
    found = build_model("prototype", settings, [12])(batch)
    plain = build_model("prototype", matcher(margin=2), [12])(batch)
    assert torch.isfinite(found).all()
    torch.testing.assert_close(found[:, 1], plain[:, 1])
