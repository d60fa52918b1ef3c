"""RePRI's inference as a meta-learner."""

import dataclasses
from collections.abc import Callable

import torch

from umtfss.episodes.batch import EpisodeBatch
from umtfss.experiment.model import ModelConfig
from umtfss.models.build import build_model

MakeBatch = Callable[..., EpisodeBatch]


def logits_of(batch: EpisodeBatch) -> torch.Tensor:
    with torch.inference_mode():  # as tests run
        return build_model("transductive", ModelConfig(), [12])(batch)


def alike(batch: EpisodeBatch) -> EpisodeBatch:
    """Tokens look like one of two vectors, of foreground and of background."""
    random = torch.Generator().manual_seed(1)
    foreground, background = torch.randn(2, 10, generator=random)
    high = torch.where(
        batch.support_mask[:, :, None] > 0.5, foreground[:, None, None], background[:, None, None]
    )
    high = high + 0.2 * torch.randn(high.shape, generator=random)
    return dataclasses.replace(batch, query_high=high[:, 0], support_high=high)


def test_finds_what_looks_alike(make_batch: MakeBatch) -> None:
    batch = alike(make_batch())
    found = logits_of(batch).argmax(1)[batch.query_valid]
    assert torch.equal(found, (batch.support_mask[:, 0] > 0.5).long()[batch.query_valid])


def test_it_has_no_parameters_and_the_scale_of_features_does_not_matter(
    make_batch: MakeBatch,
) -> None:
    batch = make_batch(shots=2)
    assert not list(build_model("transductive", ModelConfig(), [12]).parameters())
    scaled = dataclasses.replace(
        batch, query_high=batch.query_high * 7, support_high=batch.support_high / 3
    )
    torch.testing.assert_close(logits_of(scaled), logits_of(batch), atol=1e-4, rtol=1e-4)


def test_what_the_supports_do_not_show_is_not_found(make_batch: MakeBatch) -> None:
    batch = make_batch()
    logits = logits_of(
        dataclasses.replace(batch, support_mask=torch.zeros_like(batch.support_mask))
    )
    assert torch.equal(logits[:, 0], torch.full_like(logits[:, 0], 0.5))
    assert torch.equal(logits[:, 1], torch.full_like(logits[:, 1], -0.5))


def test_label_255_of_a_support_does_not_matter(make_batch: MakeBatch) -> None:
    batch = make_batch()
    valid = batch.support_valid.clone()
    valid[:, :, 4:6] = False
    hidden = dataclasses.replace(
        batch, support_valid=valid, support_mask=batch.support_mask * valid
    )
    other = dataclasses.replace(
        hidden,
        support_high=torch.where(valid[:, :, None], hidden.support_high, torch.tensor(9.0)),
    )
    torch.testing.assert_close(logits_of(other), logits_of(hidden))
    assert not torch.allclose(logits_of(hidden), logits_of(batch), atol=1e-3)
