"""The whole model: its keys, its invariances, its gradients."""

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from umtfss.episodes.batch import EpisodeBatch
from umtfss.experiment.model import ModelConfig
from umtfss.models.build import build_model
from umtfss.models.layers.prior_mask import prior_mask
from umtfss.models.umtfss import UMTFSS

MakeBatch = Callable[..., EpisodeBatch]
SMALL: dict[str, Any] = {"width": 16, "heads": 4, "k_fg": 4, "k_bg": 7, "deformable_points": 4}
VARIANTS: dict[str, dict[str, Any]] = {
    "paper": {},
    "release": {"preset": "release", "padding": "hidden", "attention_dropout": 0},
    "vanilla": {"self_attention": "vanilla", "cross_attention": "vanilla"},
    "sampled": {"cross_attention": "vanilla", "vanilla_tokens": 5},
    "sum": {"prototype_pool": "sum"},
    "residual": {"residual": "prototype"},
}


def make_model(**keys: Any) -> UMTFSS:
    torch.manual_seed(0)
    model = build_model("umtfss", ModelConfig().changed({**SMALL, **keys}), [12])
    assert isinstance(model, UMTFSS)
    # the tests must see the sampling points move with the token
    for block in (*model.query_self, *model.support_self):
        if hasattr(block.attention, "offsets"):
            torch.nn.init.normal_(block.attention.offsets.weight, std=0.1)
            torch.nn.init.normal_(block.attention.weights.weight, std=0.1)
    return model.eval()


def rows(batch: EpisodeBatch, index: list[int]) -> EpisodeBatch:
    values = {f.name: getattr(batch, f.name) for f in dataclasses.fields(batch)}
    return EpisodeBatch(**{k: v[index] for k, v in values.items() if v is not None})


@pytest.mark.parametrize("variant", VARIANTS)
@torch.no_grad()
def test_padding_does_not_matter(
    make_batch: MakeBatch, variant: str, with_noise: Callable[[EpisodeBatch], EpisodeBatch]
) -> None:
    model = make_model(**VARIANTS[variant])
    batch = make_batch(shots=2)
    logits = model(batch)
    assert logits.shape == (3, 2, 10, 10)
    torch.testing.assert_close(model(with_noise(batch)), logits, atol=1e-4, rtol=1e-4)
    crop = {
        f.name: getattr(batch, f.name)[..., :7, :9]
        for f in dataclasses.fields(batch)
        if f.name not in ("key", "target", "side", "support_target", "query_classes", "class_index")
    }
    unpadded = model(EpisodeBatch(**crop, key=batch.key))
    torch.testing.assert_close(unpadded, logits[..., :7, :9], atol=1e-4, rtol=1e-4)
    more = {name: F.pad(value, (0, 3, 0, 5)) for name, value in crop.items() if value is not None}
    more["support_pixels"] = F.pad(crop["support_pixels"], (0, 3, 0, 5), value=255)
    torch.testing.assert_close(
        model(EpisodeBatch(**more, key=batch.key))[..., :7, :9],
        logits[..., :7, :9],
        atol=1e-4,
        rtol=1e-4,
    )


@pytest.mark.parametrize("variant", VARIANTS)
@torch.no_grad()
def test_other_episodes_do_not_matter(make_batch: MakeBatch, variant: str) -> None:
    model = make_model(**VARIANTS[variant])
    batch = make_batch(shots=2)
    together = model(batch)
    torch.testing.assert_close(model(rows(batch, [2, 0])), together[[2, 0]], atol=1e-4, rtol=1e-4)
    assert torch.equal(model(batch), together)


@torch.no_grad()
def test_key_decides_the_prototypes(make_batch: MakeBatch) -> None:
    model, batch = make_model(), make_batch()
    other = dataclasses.replace(batch, key=batch.key + 1)
    assert not torch.allclose(model(batch), model(other), atol=1e-5)


@torch.no_grad()
def test_slots_beyond_the_tokens_are_never_seen(make_batch: MakeBatch) -> None:
    """With more groups than tokens, further groups are empty."""
    batch = make_batch()
    for masked in (True, False):
        few, many = (make_model(mask_empty_groups=masked, k_fg=k, k_bg=k)(batch) for k in (70, 90))
        torch.testing.assert_close(few, many, atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_shots_are_exchangeable_where_nothing_is_grouped(make_batch: MakeBatch) -> None:
    model = make_model(cross_attention="vanilla")
    batch = make_batch(shots=3)
    order = [2, 0, 1]
    swapped = dataclasses.replace(
        batch,
        support_mid=batch.support_mid[:, order],
        support_high=batch.support_high[:, order],
        support_valid=batch.support_valid[:, order],
        support_mask=batch.support_mask[:, order],
    )
    torch.testing.assert_close(model(swapped), model(batch), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("variant", VARIANTS)
def test_gradient_reaches_every_parameter(make_batch: MakeBatch, variant: str) -> None:
    model = make_model(**VARIANTS[variant]).train()
    batch = make_batch(shots=2)
    model.loss(model(batch), batch.target).backward()
    without = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert without == []


def test_residual_starts_at_the_floor(make_batch: MakeBatch) -> None:
    batch = make_batch(shots=2)
    plain, residual = make_model(), make_model(residual="prototype")
    background, foreground = build_model("prototype", ModelConfig(), [12])(batch).unbind(1)
    added = residual(batch) - plain(batch)
    torch.testing.assert_close(added[:, 1], 10 * (foreground - background), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(added[:, 0], -added[:, 1], atol=1e-4, rtol=1e-4)


def test_dead_support_has_no_layers() -> None:
    live, dead = make_model(), make_model(preset="release")
    assert len(live.support_self) == 2
    assert len(dead.support_self) == 0
    assert (dead.settings.umtfss.k_fg, dead.settings.umtfss.mask_empty_groups) == (4, False)
    assert not dead.ignore_in_loss


def test_transformer_parameters_are_the_attention_blocks() -> None:
    model = make_model()
    transformer = set(model.transformer_parameters())
    names = {n.split(".")[0] for n, p in model.named_parameters() if p in transformer}
    others = {n.split(".")[0] for n, p in model.named_parameters() if p not in transformer}
    assert names == {"query_self", "support_self", "cross"}
    assert others == {"branches", "head"}


@torch.no_grad()
def test_merge_is_a_convolution_of_the_concatenation(make_batch: MakeBatch) -> None:
    model, batch = make_model(), make_batch(shots=2)
    branches = model.branches
    query, support, *_ = branches(batch)
    features = branches.query_mid(batch.query_mid)
    shots = branches.support_mid(batch.support_mid.flatten(0, 1)).unflatten(0, (3, 2))
    mask = batch.support_mask[:, :, None]
    own = ((shots * mask).sum((3, 4)) / (mask.sum((3, 4)) + 0.0005))[..., None, None]
    prior = prior_mask(
        batch.query_high, batch.query_valid, batch.support_high, batch.support_mask > 0.5
    )
    weight = branches.query_merge.weight[..., None, None]
    joined = torch.cat([features, own.mean(1).expand_as(features), prior[:, None]], 1)
    expected = F.conv2d(joined, weight).relu().flatten(2).transpose(1, 2)
    torch.testing.assert_close(query, expected, atol=1e-5, rtol=1e-4)
    assert (query == 0).any()
    weight = branches.support_merge.weight[..., None, None]
    joined = torch.cat([shots, own.expand_as(shots)], 2).flatten(0, 1)
    expected = F.conv2d(joined, weight).relu().flatten(2).transpose(1, 2)
    torch.testing.assert_close(support, expected, atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_layers_come_by_turns_unless_all_self_attention_is_first(make_batch: MakeBatch) -> None:
    found = {}
    for order in ("interleaved", "self_first"):
        model, called = make_model(layer_order=order), []
        for name in ("query_self", "cross"):
            for block in getattr(model, name):
                block.register_forward_hook(lambda *_, n=name, found=called: found.append(n))
        model(make_batch())
        found[order] = called
    assert found["interleaved"] == ["query_self", "cross"] * 2
    assert found["self_first"] == ["query_self"] * 2 + ["cross"] * 2


@torch.no_grad()
def test_released_padding_fills_the_square_and_is_seen(
    make_batch: MakeBatch, with_noise: Callable[[EpisodeBatch], EpisodeBatch]
) -> None:
    model, batch = make_model(preset="release"), make_batch()
    logits = model(batch)
    assert not torch.allclose(model(with_noise(batch)), logits, atol=1e-3)
    crop = {
        f.name: getattr(batch, f.name)[..., :7, :9]
        for f in dataclasses.fields(batch)
        if f.name not in ("key", "target", "side", "support_target", "query_classes", "class_index")
    }
    trimmed = EpisodeBatch(**crop, key=batch.key, side=10)
    torch.testing.assert_close(model(trimmed), logits, atol=1e-4, rtol=1e-4)


def test_single_pixels_are_asked_for_by_name(make_batch: MakeBatch) -> None:
    batch = dataclasses.replace(make_batch(), support_pixels=None)
    with pytest.raises(ValueError, match="sampled reads batch"):
        make_model(token_masks="sampled")(batch)


@torch.no_grad()
def test_a_factor_on_the_prior_mask_is_a_factor_on_its_weights(make_batch: MakeBatch) -> None:
    plain, scaled, batch = make_model(), make_model(prior_scale=4), make_batch()
    expected = plain(batch)
    assert not torch.allclose(scaled(batch), expected)
    scaled.branches.query_merge.weight[:, -1] /= 4
    torch.testing.assert_close(scaled(batch), expected)


def test_memory_layout_does_not_matter(make_batch: MakeBatch) -> None:
    model, batch = make_model(), make_batch()
    last = dataclasses.replace(
        batch, query_mid=batch.query_mid.contiguous(memory_format=torch.channels_last)
    )
    torch.testing.assert_close(model(last), model(batch), atol=1e-5, rtol=1e-4)


def test_bf16_autocast_runs(make_batch: MakeBatch) -> None:
    model, batch = make_model(), make_batch()
    with torch.autocast("cpu", torch.bfloat16):
        logits = model(batch)
    loss = model.loss(logits, batch.target)
    loss.backward()
    torch.testing.assert_close(loss, model.loss(model(batch), batch.target), atol=0.05, rtol=0)


def test_overfits_one_batch(make_batch: MakeBatch) -> None:
    model = make_model(dropout=0, mid_dropout=0, head_dropout=0).train()
    batch = make_batch()
    optimiser = torch.optim.AdamW(model.parameters(), 1e-2)
    losses = []
    for _ in range(20):
        loss = model.loss(model(batch), batch.target)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[0] > 0.8
    assert losses[-1] < 0.35 * losses[0]


def test_alignment_reaches_the_loss(make_batch: MakeBatch) -> None:
    batch = make_batch()
    model = make_model()
    aligned = build_model("umtfss", ModelConfig().changed(SMALL), [12], align_corners=True)
    logits = torch.randn(3, 2, 10, 10)
    assert model.loss(logits, batch.target) != aligned.loss(logits, batch.target)
