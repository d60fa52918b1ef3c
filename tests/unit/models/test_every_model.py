"""What every meta-learner keeps to: shapes, invariances, gradients, awkward supports."""

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from umtfss.common.errors import TrainingError
from umtfss.episodes.batch import EpisodeBatch
from umtfss.episodes.pairs import with_pairs
from umtfss.experiment.model import ModelConfig
from umtfss.experiment.models import MODELS, TRAINING_FREE
from umtfss.experiment.training import TrainingConfig
from umtfss.models.base import MetaLearner
from umtfss.models.build import build_model
from umtfss.training.loop import Objective
from umtfss.training.optimisers import build_optimisers

MakeBatch = Callable[..., EpisodeBatch]
SMALL: dict[str, Any] = {
    "width": 16,
    "heads": 4,
    "k_fg": 4,
    "k_bg": 7,
    "deformable_points": 4,
    "cycle_tokens": 9,
}
TARGETS = ("target", "support_target", "query_classes", "class_index")  # of training alone
TRAINED = [name for name in MODELS if name not in TRAINING_FREE]
CASES = [(name, {}) for name in MODELS]
CASES += [(name, {"residual": "prototype"}) for name in TRAINED]
CENTRED = [(name, {"residual": "centred"}) for name in TRAINED]  # a common bias has no gradient
CASES += [("cyctr", {"self_attention": "vanilla"}), ("pfenet", {"pyramid_scales": [0.4, 0.3]})]

every_case = pytest.mark.parametrize(("name", "keys"), CASES + CENTRED, ids=str)
every_model = pytest.mark.parametrize("name", MODELS)
every_trained = pytest.mark.parametrize("name", TRAINED)


def make_model(name: str, **keys: Any) -> MetaLearner:
    torch.manual_seed(0)
    model = build_model(name, ModelConfig().changed({**SMALL, **keys}), [4, 4, 4])
    if model.reads_classes:
        model.tell_apart(3, are_clusters=False)
    for parameter in model.parameters():  # sampling points and offsets start with zero weights
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.1)
    return model.eval()


def changed(batch: EpisodeBatch, change: Callable[[torch.Tensor], torch.Tensor]) -> EpisodeBatch:
    """The batch with all of its grids changed, without a target."""
    grids = {
        f.name: change(getattr(batch, f.name))
        for f in dataclasses.fields(batch)
        if f.name not in ("key", "side", *TARGETS)
    }
    return EpisodeBatch(**grids, key=batch.key)


def rows(batch: EpisodeBatch, index: list[int]) -> EpisodeBatch:
    values = {f.name: getattr(batch, f.name) for f in dataclasses.fields(batch)}
    return EpisodeBatch(**{k: v[index] for k, v in values.items() if v is not None})


def close(found: torch.Tensor, expected: torch.Tensor) -> None:
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


@every_case
@torch.no_grad()
def test_padding_does_not_matter(
    make_batch: MakeBatch,
    name: str,
    keys: dict[str, Any],
    with_noise: Callable[[EpisodeBatch], EpisodeBatch],
) -> None:
    model, batch = make_model(name, **keys), make_batch(shots=2)
    logits = model(batch)
    assert logits.shape == (3, 2, 10, 10)
    assert torch.equal(logits[:, :, 7:], logits[:, :, 6:7].expand(-1, -1, 3, -1))
    close(model(with_noise(batch)), logits)
    unpadded = changed(batch, lambda grid: grid[..., :7, :9])
    close(model(unpadded), logits[..., :7, :9])
    more = changed(unpadded, lambda grid: F.pad(grid, (0, 6, 0, 8)))
    close(model(more)[..., :7, :9], logits[..., :7, :9])


@pytest.mark.parametrize("masks", ["area", "sampled"])
@every_case
@torch.no_grad()
def test_a_model_says_whether_it_reads_high_features_of_background(
    make_batch: MakeBatch, name: str, keys: dict[str, Any], masks: str
) -> None:
    model, batch = make_model(name, **keys, token_masks=masks), make_batch(shots=2)
    assert batch.support_pixels is not None
    batch.support_pixels[:, :, :, 5, 5] = 1  # foreground at the centre, though not of most area
    of_object = (batch.support_mask > 0) | (batch.support_pixels[:, :, 0] == 1)
    noise = torch.randn_like(batch.support_high) * 50
    other = torch.where(of_object[:, :, None], batch.support_high, noise)
    found = model(dataclasses.replace(batch, support_high=other))
    assert torch.equal(found, model(batch)) != model.reads_high_background


@every_case
def test_a_trimmed_batch_is_the_square_one(
    make_batch: MakeBatch, name: str, keys: dict[str, Any]
) -> None:
    """Without its padding a batch has the same logits, the same loss and the same gradients."""
    model, square = make_model(name, **keys), make_batch(shots=2)
    unpadded = changed(square, lambda grid: grid[..., :7, :9])
    trimmed = dataclasses.replace(
        unpadded, side=10, **{name: getattr(square, name) for name in TARGETS}
    )
    found = []
    for batch in (square, trimmed):
        model.zero_grad()
        outputs = model.outputs(batch)
        loss = model.total_loss(outputs, batch)
        if loss.requires_grad:
            loss.backward()
        gradients = [p.grad for p in model.parameters() if p.grad is not None]
        found.append((outputs[0].detach(), loss.detach(), *gradients))
    assert len(found[0]) == len(found[1])
    assert len(found[0]) > 2 or name in TRAINING_FREE
    for one, other in zip(*found, strict=True):
        close(other, one)


def test_logits_that_leave_a_part_of_the_target_out_are_refused(make_batch: MakeBatch) -> None:
    model, square = make_model("prototype"), make_batch()
    trimmed = changed(square, lambda grid: grid[..., :7, :9])
    model.forward = model.cosines  # type: ignore[method-assign, assignment, operator]
    batch = dataclasses.replace(trimmed, target=square.target, side=10)
    with pytest.raises(TrainingError, match=r"PrototypeMatcher do not fill(?s:.*)batch\.side"):
        Objective(model, lambda: torch.autocast("cpu", enabled=False))(batch)


@every_model
@torch.no_grad()
def test_other_episodes_do_not_matter_and_a_test_repeats(make_batch: MakeBatch, name: str) -> None:
    model, batch = make_model(name), make_batch(shots=2)
    together = model(batch)
    assert torch.equal(model(batch), together)
    assert torch.equal(model.outputs(batch)[0], together)
    close(model(rows(batch, [2, 0])), together[[2, 0]])
    small = make_batch(batch=1, shape=(5, 6), seed=1, shots=2)
    values = {
        f.name: torch.cat([getattr(batch, f.name), getattr(small, f.name)])
        for f in dataclasses.fields(batch)
        if f.name != "side"
    }
    mixed = model(EpisodeBatch(**values))
    close(mixed[:3], together)
    close(mixed[3:], model(small))


@every_model
@torch.no_grad()
def test_five_shots_with_the_weights_of_one(make_batch: MakeBatch, name: str) -> None:
    """Five times the same support is much like that support, for the models that average."""
    model, one = make_model(name), make_batch()
    five = {
        f.name: getattr(one, f.name).repeat_interleave(5, 1)
        for f in dataclasses.fields(one)
        if f.name.startswith("support")
    }
    batch = dataclasses.replace(one, **five)
    logits = model(batch)
    assert logits.isfinite().all()
    if name in ("pfenet", "masksplit", "hsnet", "asnet", "prototype", "bam", "catrans"):
        close(logits, model(one))
    assert model(make_batch(batch=2, shots=5)).shape == (2, 2, 10, 10)


@every_trained
@pytest.mark.parametrize("fill", [0.0, 0.3, 1.0])
def test_supports_of_one_kind_give_finite_gradients(
    make_batch: MakeBatch, name: str, fill: float
) -> None:
    model, batch = make_model(name, residual="prototype").train(), make_batch(shots=2)
    batch = dataclasses.replace(batch, support_mask=fill * batch.support_valid)
    loss = model.total_loss(model.outputs(batch), batch)
    loss.backward()
    assert loss.isfinite()
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())


@every_trained
def test_models_train_on_pairs_of_queries(make_batch: MakeBatch, name: str) -> None:
    model, batch = make_model(name).train(), make_batch(shots=2)
    batch = dataclasses.replace(batch, class_index=torch.tensor([1, 2, 3]))
    paired = with_pairs(batch, align_corners=False)
    outputs = model.outputs(paired)
    assert outputs[0].shape == (3, 2, 10, 20)
    model.total_loss(outputs, paired).backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize(("name", "keys"), [c for c in CASES if c[0] in TRAINED], ids=str)
def test_gradient_reaches_every_parameter(
    make_batch: MakeBatch, name: str, keys: dict[str, Any]
) -> None:
    off = {"dropout": 0, "mid_dropout": 0, "head_dropout": 0}
    model, batch = make_model(name, **off, **keys).train(), make_batch(shots=2)
    model.total_loss(model.outputs(batch), batch).backward()
    without = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert without == []


@every_model
def test_residual_adds_the_floor(make_batch: MakeBatch, name: str) -> None:
    batch = make_batch(shots=2)
    plain, residual = (make_model(name, residual=kind) for kind in ("none", "prototype"))
    background, foreground = build_model("prototype", ModelConfig(), [12])(batch).unbind(1)
    added = residual(batch) - plain(batch)
    expected = torch.zeros_like(added[:, 1])
    if hasattr(residual, "residual"):
        expected = 10 * (foreground - background)
    torch.testing.assert_close(added[:, 1], expected, atol=1e-4, rtol=1e-3)
    torch.testing.assert_close(added[:, 0], -expected, atol=1e-4, rtol=1e-3)


@every_trained
def test_a_centred_model_moves_foreground_but_adds_none(make_batch: MakeBatch, name: str) -> None:
    batch = make_batch(shots=2)
    if not hasattr(make_model(name, residual="centred"), "residual"):
        pytest.skip("a model may do without a residual")
    plain, centred = (make_model(name, residual=kind)(batch) for kind in ("none", "centred"))
    background, foreground = build_model("prototype", ModelConfig(), [12])(batch).unbind(1)
    torch.testing.assert_close(centred[:, 0], -centred[:, 1])
    own = centred[:, 1] - 10 * (foreground - background)
    for row, valid in enumerate(batch.query_valid):
        assert own[row][valid].mean().abs().item() < 1e-4
        shift = own[row] - (plain[row, 1] - plain[row, 0]) / 2
        torch.testing.assert_close(shift, shift[0, 0].expand_as(shift), atol=1e-4, rtol=1e-3)


@every_trained
def test_bf16_autocast_trains(make_batch: MakeBatch, name: str) -> None:
    model, batch = make_model(name, residual="prototype"), make_batch(shots=2)
    loss, logits = Objective(model, lambda: torch.autocast("cpu", torch.bfloat16))(batch)
    loss.backward()
    exact, _ = Objective(model, lambda: torch.autocast("cpu", enabled=False))(batch)
    assert logits.dtype == torch.float32
    torch.testing.assert_close(loss, exact, atol=0.1, rtol=0.05)


@every_trained
def test_learns_one_batch(make_batch: MakeBatch, name: str) -> None:
    off = {"dropout": 0, "mid_dropout": 0, "head_dropout": 0}
    model, batch = make_model(name, **off).train(), make_batch()
    rate = {"asnet": 3e-3, "catrans": 1e-3}.get(name, 1e-2)  # many norms bear no larger steps
    optimiser = torch.optim.AdamW(model.parameters(), rate)
    losses = []
    for _ in range(20):
        loss = model.total_loss(model.outputs(batch), batch)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.6 * losses[0]


@every_trained
def test_every_parameter_has_one_optimiser(name: str) -> None:
    model = make_model(name)
    transformer = list(model.transformer_parameters())
    assert (len(transformer) > 0) == (name in ("umtfss", "cyctr"))
    found = build_optimisers(model, transformer, TrainingConfig(steps=1))
    taken = [id(p) for one in found.values() for g in one.param_groups for p in g["params"]]
    assert sorted(taken) == sorted(id(p) for p in model.parameters())


@every_trained
def test_predictions_on_label_255_matter_only_to_the_released_dice(
    make_batch: MakeBatch, name: str
) -> None:
    batch = make_batch()
    assert batch.target is not None
    target = batch.target.clone()
    target[:, 20:] = 255  # the lower half
    logits = torch.randn(3, 2, 10, 10)
    other = logits.clone()
    other[:, 1, 7:] += 9
    for ignore in (True, False):
        model = make_model(name, ignore_in_loss=ignore)
        one, two = model.loss(logits, target), model.loss(other, target)
        assert (one == two) == (ignore or name not in ("umtfss", "cyctr"))
