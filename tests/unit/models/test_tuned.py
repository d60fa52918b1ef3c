"""The matcher whose backbone is trained a little."""

import dataclasses

import pytest
import torch
import torch.nn.functional as F
from timm.models.vision_transformer import Block

from umtfss.config import ModelConfig
from umtfss.models import build_model
from umtfss.models.tuned import SCALE, TunedBackbone


def make_model(**keys) -> TunedBackbone:
    torch.manual_seed(0)
    model = build_model("tuned", ModelConfig(**keys), 12)
    model.blocks = torch.nn.ModuleList(Block(12, 4) for _ in range(2))
    return model.eval()


def test_tokens_are_those_of_the_blocks_beside_what_stays_frozen():
    model, stem, frozen = make_model(), torch.randn(2, 12, 3, 4), torch.randn(2, 17, 3, 4)
    found = model.tokens(stem, frozen)
    x = stem.flatten(2).transpose(1, 2)
    for block in model.blocks:
        x = block(x)
    mean, std = x.mean(2, keepdim=True), x.std(2, correction=0, keepdim=True)
    expected = F.normalize((x - mean) / std, dim=2)
    whole = torch.cat([expected, frozen[:, 12:].flatten(2).transpose(1, 2)], 2)
    whole = F.normalize(whole, dim=2).transpose(1, 2).view_as(frozen)
    torch.testing.assert_close(found, whole)


def test_a_cosine_is_a_mean_of_diffused_and_tuned():
    model, frozen = make_model(), torch.randn(1, 17, 3, 4)
    stem, diffused = torch.randn(1, 12, 3, 4), torch.randn(1, 5, 3, 4)
    model.part = 0.3
    found = model.tokens(torch.cat([stem, diffused], 1), frozen)[0].flatten(1)
    tuned = model.tokens(stem, frozen)[0].flatten(1)
    place = F.normalize(diffused[0].flatten(1), dim=0)
    torch.testing.assert_close(found.T @ found, 0.7 * place.T @ place + 0.3 * tuned.T @ tuned)


def test_padding_changes_no_token():
    model, stem, frozen = make_model(), torch.randn(2, 12, 3, 4), torch.randn(2, 12, 3, 4)
    padded = [F.pad(one, (0, 2, 0, 1), value=7.0) for one in (stem, frozen)]
    valid = F.pad(torch.ones(2, 3, 4, dtype=torch.bool), (0, 2, 0, 1))
    found = model.tokens(*padded, valid)
    torch.testing.assert_close(found[..., :3, :4], model.tokens(stem, frozen))


def test_an_image_without_a_valid_token_stays_finite():
    model, stem = make_model(), torch.randn(2, 12, 3, 4)
    valid = torch.zeros(2, 3, 4, dtype=torch.bool)
    valid[0] = True
    assert torch.isfinite(model.tokens(stem, stem, valid)).all()


@pytest.mark.parametrize("self_support", [False, True])
def test_it_is_the_matcher_on_its_tokens(make_batch, self_support):
    """Without self-support, which is left to the test."""
    model, batch = make_model(self_support=self_support, margin=0.1), make_batch(shots=2, high=12)
    matcher = build_model("prototype", ModelConfig(margin=0.1), 12)
    supports = [
        model.tokens(batch.support_mid[:, k], batch.support_high[:, k], batch.support_valid[:, k])
        for k in range(2)
    ]
    tuned = dataclasses.replace(
        batch,
        query_high=model.tokens(batch.query_mid, batch.query_high, batch.query_valid),
        support_high=torch.stack(supports, 1),
    )
    torch.testing.assert_close(model(batch), SCALE * matcher(tuned))


def test_its_loss_is_the_cross_entropy_of_pixels(make_batch):
    model, batch = make_model(), make_batch(high=12)
    logits = model(batch)
    found = model.total_loss((logits,), batch)
    size = batch.target.shape[1:]
    odds = (
        F.interpolate(logits, size, mode="bilinear")
        .softmax(1)
        .gather(1, batch.target.clamp(max=1)[:, None])
    )
    expected = -odds[:, 0].log()[batch.target != 255].mean()
    torch.testing.assert_close(found, expected)
