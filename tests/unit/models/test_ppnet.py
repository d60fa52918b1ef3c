"""PPNet: prototypes, the bank of regions and the reversed task."""

import dataclasses
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F

from umtfss.episodes.batch import EpisodeBatch
from umtfss.experiment.model import ModelConfig
from umtfss.models import ppnet
from umtfss.models.build import build_model
from umtfss.models.layers.parts import parts
from umtfss.models.ppnet import BANK, PPNet, prototypes, scores, similar_regions

MakeBatch = Callable[..., EpisodeBatch]
NONE = torch.zeros(0, 6)


def model() -> PPNet:
    torch.manual_seed(0)
    made = build_model("ppnet", ModelConfig(width=8, heads=4), [5, 7])
    assert isinstance(made, PPNet)
    return made


def tokens(count: int = 40, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    random = torch.Generator().manual_seed(seed)
    drawn = torch.randn(count, 6, generator=random)
    return drawn, torch.rand(count, generator=random)


def test_prototypes_are_parts_with_the_mean_token() -> None:
    drawn, weight = tokens()
    mean = sum(w * token for w, token in zip(weight, drawn, strict=True)) / weight.sum()
    expected = parts(drawn[weight > 0.5], 5) + 0.8 * mean
    torch.testing.assert_close(prototypes(drawn, weight, NONE), expected)
    faint = weight * 0.4  # no token is mostly of the class
    torch.testing.assert_close(prototypes(drawn, faint, NONE), mean[None])


def test_one_part_without_regions_is_the_prototype_matcher(
    make_batch: MakeBatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ppnet, "PARTS", 1)
    batch = make_batch()
    whole = (batch.support_mask > 0.5).float()
    batch = dataclasses.replace(
        batch,
        query_high=batch.query_mid,
        support_mask=whole,
        support_high=F.normalize(batch.support_mid, dim=2),
    )
    batch = dataclasses.replace(batch, support_mid=batch.support_high)
    made = build_model("ppnet", ModelConfig(width=12, heads=4), [12])
    assert isinstance(made, PPNet)
    with torch.no_grad():
        made.project.weight.copy_(torch.eye(12)[..., None, None])
        found = made(batch)
    matcher = build_model("prototype", ModelConfig(), [12])(batch)
    torch.testing.assert_close(found, 20 * matcher, atol=1e-4, rtol=1e-4)


def test_a_score_is_the_largest_of_its_prototypes() -> None:
    drawn, part = tokens()
    image, regions = torch.randn(3, 4, 6), torch.randn(50, 6)
    found = scores(image, drawn, part, regions)
    for label, weight in enumerate((1 - part, part)):
        every = [
            20 * F.cosine_similarity(image, one.expand_as(image), dim=2)
            for one in prototypes(drawn, weight, regions)
        ]
        torch.testing.assert_close(found[label], torch.stack(every).amax(0))


def test_regions_refine_by_their_similarity() -> None:
    drawn, weight = tokens()
    mean = F.normalize(weight @ drawn, dim=0)
    regions = mean + 0.4 * torch.randn(8, 6, generator=torch.Generator().manual_seed(2))
    plain, found = (prototypes(drawn, weight, one) for one in (NONE, regions))
    similar = similar_regions(weight @ drawn / weight.sum(), regions)
    assert 0 < len(similar) <= 8
    for before, after in zip(plain, found, strict=True):
        share = torch.stack([20 * F.cosine_similarity(before, one, dim=0) for one in similar])
        attended = sum(s * one for s, one in zip(share.softmax(0), similar, strict=True))
        torch.testing.assert_close(after, 0.8 * before + 0.2 * attended)
    torch.testing.assert_close(prototypes(drawn, weight, regions.repeat(2, 1)), found)
    far = -(weight @ drawn)[None].repeat(9, 1)
    assert torch.equal(prototypes(drawn, weight, far), plain)


def test_only_the_thirty_most_similar_regions_above_one_half_are_taken() -> None:
    mean = F.normalize(torch.ones(6), dim=0)
    regions = mean + 0.35 * torch.randn(200, 6, generator=torch.Generator().manual_seed(0))
    cosine = F.cosine_similarity(regions, mean[None], dim=1)
    found = F.cosine_similarity(similar_regions(mean, regions), mean[None], dim=1)
    torch.testing.assert_close(found, cosine.sort(descending=True).values[:30])
    few = regions[cosine < 0.6]
    kept = F.cosine_similarity(similar_regions(mean, few), mean[None], dim=1)
    assert len(kept) == int((F.cosine_similarity(few, mean[None], dim=1) > 0.5).sum().clamp(max=30))
    assert kept.min() > 0.5


def test_the_bank_holds_means_of_squares_of_the_last_queries(make_batch: MakeBatch) -> None:
    made, batch = model(), make_batch()
    made.eval().outputs(batch)
    assert int(made.filled) == 0  # a test writes nothing
    made.train().outputs(batch)
    assert int(made.filled) == 3 * 9  # 7 x 9 tokens: 3 x 3 squares, the last row of one token
    first = batch.query_mid[0, :, :3, :3].mean((1, 2))
    torch.testing.assert_close(made.bank[0], first)
    torch.testing.assert_close(made.bank[6], batch.query_mid[0, :, 6:7, :3].mean((1, 2)))
    torch.testing.assert_close(made._regions(), made.bank[:27] @ made.project.weight[..., 0, 0].T)
    for _ in range(BANK // 27):
        made.outputs(batch)
    assert int(made.filled) == 27 * (BANK // 27 + 1)
    assert made._regions().shape == (BANK, 8)
    torch.testing.assert_close(made.bank[0], made.bank[BANK % 27])  # written over


def test_the_bank_comes_with_the_weights_and_changes_a_test(make_batch: MakeBatch) -> None:
    made, batch = model().train(), make_batch()
    before = made.eval()(batch)
    made.bank[:40] = torch.randn(40, 12)
    made.filled.fill_(40)
    after = made(batch)
    assert not torch.allclose(before, after)
    other = model()
    other.load_state_dict(made.state_dict())
    assert torch.equal(other.eval()(batch), after)


def test_the_reversed_task_segments_supports_by_the_prediction(make_batch: MakeBatch) -> None:
    made, batch = model().eval(), make_batch(shots=2)
    logits, back = made.outputs(batch)
    assert back.shape == (6, 2, 10, 10)
    query, support = made._projected(batch)
    valid = batch.query_valid[1]
    part = (logits[1, 1] > logits[1, 0])[valid].float()
    expected = scores(support[1, 1], query[1][valid], part, torch.zeros(0, 8))
    torch.testing.assert_close(back[3, :, :7, :9], expected[:, :7, :9])
    assert batch.target is not None
    assert batch.support_target is not None
    expected = torch.zeros(())
    for found, target in ((logits, batch.target), (back, batch.support_target.flatten(0, 1))):
        large = F.interpolate(found, (40, 40), mode="bilinear")
        expected = expected + F.cross_entropy(large, target, ignore_index=255)
    torch.testing.assert_close(made.total_loss((logits, back), batch), expected)
    nothing = dataclasses.replace(batch, support_mask=torch.zeros_like(batch.support_mask))
    logits, back = made.outputs(nothing)
    assert not (logits[:, 1] > logits[:, 0])[batch.query_valid].any()
    assert torch.equal(back, torch.zeros_like(back))
    made.total_loss((logits, back), nothing).backward()
    assert made.project.weight.grad is not None
    assert made.project.weight.grad.isfinite().all()


def test_overfits_one_episode(make_batch: MakeBatch) -> None:
    """Two kinds of tokens that differ in one channel of twelve, below the others' noise."""
    batch = make_batch(batch=1, shape=(10, 10))
    assert batch.target is not None
    random = torch.Generator().manual_seed(0)
    truth = batch.target[:, 2::4, 2::4] == 1
    marks = torch.stack([truth, batch.support_mask[:, 0] > 0.5]).float()
    mid = torch.randn(2, 12, 10, 10, generator=random)
    mid[:, 3] = 2 * marks[:, 0] - 1
    batch = dataclasses.replace(batch, query_mid=mid[:1], support_mid=mid[1:][None])
    made = model().train()
    optimiser, losses = torch.optim.AdamW(made.parameters(), 1e-2), []
    for _ in range(60):
        loss = made.total_loss(made.outputs(batch), batch)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.4 * losses[0]
