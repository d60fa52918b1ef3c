"""BAM: the ensemble, the base map and the scene difference against loops."""

import dataclasses
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F

from umtfss.episodes.batch import EpisodeBatch
from umtfss.experiment.model import ModelConfig
from umtfss.models.bam import BAM, base_map, gram, scene_difference
from umtfss.models.build import build_model
from umtfss.models.layers.position_encoding import repeat_edge

MakeBatch = Callable[..., EpisodeBatch]


def model(are_clusters: bool = False) -> BAM:
    torch.manual_seed(0)
    off = {"mid_dropout": 0, "head_dropout": 0, "dilations": [1, 2]}
    settings = ModelConfig().changed({"width": 16, "heads": 4, **off})
    made = build_model("bam", settings, [5, 7])
    assert isinstance(made, BAM)
    made.tell_apart(3, are_clusters)
    return made


def of_a_test(batch: EpisodeBatch) -> EpisodeBatch:
    return dataclasses.replace(batch, query_classes=None, class_index=None, target=None)


@torch.no_grad()
def test_with_an_empty_base_map_it_is_its_meta_learner(make_batch: MakeBatch) -> None:
    made, batch = model(), of_a_test(make_batch(shots=2))
    made.base_weights[1] = 0.9
    assert made.base.classifier.bias is not None
    made.base.classifier.weight.zero_()
    made.base.classifier.bias.copy_(torch.tensor([200.0, 0, 0, 0]))  # all is background
    scores, meta, _ = made.outputs(batch)
    torch.testing.assert_close(scores, meta.softmax(1))
    assert torch.equal(scores.argmax(1), meta.argmax(1))
    made.base.classifier.bias.zero_()
    assert not torch.allclose(made(batch), meta.softmax(1), atol=1e-2)


@torch.no_grad()
def test_the_ensemble_equals_a_loop_and_the_base_never_raises_foreground() -> None:
    made = model()
    made.meta_weights.copy_(torch.tensor([0.8, 0.3]))
    made.base_weights.copy_(torch.tensor([0.9, 0.6]))
    meta, base, scene = torch.randn(2, 2, 3, 4), torch.rand(2, 3, 4), torch.rand(2)
    found = made.ensemble(meta, base, scene)
    for image in range(2):
        for row in range(3):
            for column in range(4):
                background, foreground = meta[image, :, row, column].softmax(0)
                one, two = (0.8 * p + 0.3 * scene[image] for p in (background, foreground))
                expected = torch.stack([0.9 * one + 0.6 * base[image, row, column], two])
                torch.testing.assert_close(found[image, :, row, column], expected)
    none = made.ensemble(meta, torch.zeros_like(base), scene)
    assert ((found[:, 1] - found[:, 0]) < (none[:, 1] - none[:, 0])).all()
    made.base_weights.copy_(torch.tensor([1.0, 0.0]))
    shifted = made.ensemble(meta, base, scene + 5)
    assert torch.equal(shifted.argmax(1), meta.argmax(1))


@torch.no_grad()
def test_the_episode_s_own_class_is_left_out_in_training_alone(make_batch: MakeBatch) -> None:
    made, batch = model(), make_batch()
    logits = torch.full((3, 4, 10, 10), -200.0)
    logits[:, 2] = 200  # every token is the episode's class
    own = base_map(logits, made._weights(batch, logits))
    assert torch.equal(own, torch.zeros(3, 10, 10))
    at_test = base_map(logits, made._weights(of_a_test(batch), logits))
    assert torch.equal(at_test, torch.ones(3, 10, 10))
    other = dataclasses.replace(batch, class_index=torch.tensor([1, 2, 3]))
    assert base_map(logits, made._weights(other, logits)).amax((1, 2)).tolist() == [1, 0, 1]


@torch.no_grad()
def test_a_cluster_counts_by_what_the_supports_foreground_leaves_out(
    make_batch: MakeBatch,
) -> None:
    """The novel object lies in some cluster, which must not erase it."""
    made, batch = model(are_clusters=True), of_a_test(make_batch(shots=2))
    logits = torch.randn(3, 4, 10, 10)
    found = made._weights(batch, logits)
    for row in range(3):
        share, total = torch.zeros(3), 0.0
        for shot in range(2):
            features = made.base.features(
                batch.support_mid[row, shot][None], batch.support_valid[row, shot][None]
            )
            part = made.base(features).softmax(1)[0, 1:]
            share += (part * batch.support_mask[row, shot]).sum((1, 2))
            total += batch.support_mask[row, shot].sum().item()
        torch.testing.assert_close(found[row], 1 - share / total, atol=1e-5, rtol=1e-5)
    nothing = dataclasses.replace(batch, support_mask=torch.zeros_like(batch.support_mask))
    assert torch.equal(made._weights(nothing, logits), torch.ones(3, 3))
    labels = model(are_clusters=False)
    assert torch.equal(labels._weights(batch, logits), torch.ones(3, 3))


def test_gram_matrices_equal_loops_and_do_not_see_padding(make_batch: MakeBatch) -> None:
    batch = make_batch(shots=2)
    found = gram(batch.query_mid[:, :5], batch.query_valid)
    for one in range(5):
        for two in range(5):
            a, b = (batch.query_mid[1, i, :7, :9].flatten() for i in (one, two))
            expected = F.cosine_similarity(a, b, dim=0)
            torch.testing.assert_close(found[1, one, two], expected, atol=1e-5, rtol=1e-5)
    noise = torch.where(batch.query_valid[:, None], batch.query_mid, torch.tensor(40.0))
    torch.testing.assert_close(gram(noise[:, :5], batch.query_valid), found)
    order = torch.randperm(63)
    tokens = batch.query_mid[:, :5, :7, :9].flatten(2)[..., order].unflatten(2, (7, 9))
    every = torch.ones(3, 7, 9, dtype=torch.bool)
    torch.testing.assert_close(gram(tokens, every), found)
    torch.testing.assert_close(found.diagonal(dim1=1, dim2=2), torch.ones(3, 5))
    torch.testing.assert_close(found, found.mT)


def test_the_scene_difference_is_that_of_the_first_level(make_batch: MakeBatch) -> None:
    batch = make_batch(shots=2)
    found = scene_difference(batch, 5)
    query = gram(batch.query_mid[:, :5], batch.query_valid)
    shots = [gram(batch.support_mid[:, k, :5], batch.support_valid[:, k]) for k in range(2)]
    expected = sum(((query - one) ** 2).sum((1, 2)).sqrt() / 5 for one in shots) / 2
    torch.testing.assert_close(found, expected)
    deeper = dataclasses.replace(batch, query_mid=batch.query_mid.clone())
    deeper.query_mid[:, 5:] = 3
    assert torch.equal(scene_difference(deeper, 5), found)
    alike = dataclasses.replace(
        batch,
        query_mid=batch.support_mid[:, 0],
        support_mid=batch.support_mid[:, :1].repeat(1, 2, 1, 1, 1),
    )
    torch.testing.assert_close(scene_difference(alike, 5), torch.zeros(3))


@torch.no_grad()
def test_the_ensemble_is_shifted_by_the_scene_of_the_first_level(make_batch: MakeBatch) -> None:
    made, batch = model().eval(), of_a_test(make_batch())
    made.meta_weights[1] = 0.5
    scores, meta, _ = made.outputs(batch)
    shift = 0.5 * scene_difference(batch, 5)[:, None, None]
    torch.testing.assert_close(scores[:, 1], meta.softmax(1)[:, 1] + shift)


def test_loss_is_the_sum_of_three_and_the_ensemble_does_not_train_the_base(
    make_batch: MakeBatch,
) -> None:
    made, batch = model(), make_batch()
    made.base_weights.data[1] = 0.5
    scores, meta, classes = outputs = made.outputs(batch)
    assert batch.target is not None
    assert batch.query_classes is not None
    expected = torch.zeros(())
    for logits, target in (
        (scores, batch.target),
        (meta, batch.target),
        (classes, batch.query_classes),
    ):
        large = F.interpolate(logits, (40, 40), mode="bilinear")
        expected = expected + F.cross_entropy(large, target, ignore_index=255)
    torch.testing.assert_close(made.total_loss(outputs, batch), expected)
    (made.loss(scores, batch.target) + made.loss(meta, batch.target)).backward()
    assert all(p.grad is None or not p.grad.any() for p in made.base.parameters())
    assert made.base_weights.grad is not None
    assert made.base_weights.grad[1] != 0


@pytest.mark.parametrize("shots", [1, 3])
@torch.no_grad()
def test_the_meta_learner_equals_plain_convolutions(make_batch: MakeBatch, shots: int) -> None:
    made, batch = model().eval(), of_a_test(make_batch(shape=(8, 8), grid=(8, 8), shots=shots))
    query, mask = made.query_mid(batch.query_mid), batch.support_mask
    vectors, priors = [], []
    for shot in range(shots):
        support = made.support_mid(batch.support_mid[:, shot])
        own = mask[:, shot, None]
        vectors.append((support * own).sum((2, 3)) / (own.sum((2, 3)) + 0.0005))
        cosine = torch.einsum(
            "bcn,bcm->bnm",
            F.normalize(batch.query_high.flatten(2), dim=1),
            F.normalize(batch.support_high[:, shot].flatten(2), dim=1),
        )
        best = cosine.masked_fill((own <= 0.5).flatten(1)[:, None], -2).amax(2)
        low, high = best.amin(1, keepdim=True), best.amax(1, keepdim=True)
        priors.append(((best - low) / (high - low + 1e-7)).view(3, 1, 8, 8))
    vector, prior = sum(vectors) / shots, sum(priors) / shots
    grid = torch.cat([query, vector[..., None, None].expand_as(query), prior], 1)
    grid = F.conv2d(grid, made.merge.weight[..., None, None]).relu()
    pyramid = made.pyramid
    mean = pyramid.mean(grid.mean((2, 3), keepdim=True)).expand_as(grid)
    parts = [mean, pyramid.point(grid), *(branch(grid) for branch in pyramid.dilated)]
    grid = pyramid.join(torch.cat(parts, 1).relu()).relu()
    grid = grid + made.refine.second(made.refine.first(grid).relu()).relu()
    expected = made.head(grid)
    torch.testing.assert_close(made.meta_logits(batch), expected, atol=1e-5, rtol=1e-4)
    assert torch.equal(
        made.outputs(batch)[1], repeat_edge(made.meta_logits(batch), batch.query_valid)
    )
