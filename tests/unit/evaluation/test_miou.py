"""Intersection over union, against torchmetrics and a plain loop."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchmetrics.classification import BinaryJaccardIndex, MulticlassJaccardIndex

from tests.golden_files import golden
from umtfss.evaluation.miou import EpisodeScores, SegmentationScore, class_means, summarise

CLASSES = (3, 5, 9)
Drawn = list[tuple[np.ndarray, np.ndarray, int]]


def draw(seed: int, count: int) -> Drawn:
    """Episodes of every class; the label always has foreground."""
    rng = np.random.default_rng(seed)
    drawn = []
    for place in range(count):
        shape = tuple(rng.integers(2, 12, 2))
        label = rng.choice([0, 1, 255], shape, p=[0.6, 0.3, 0.1]).astype(np.uint8)
        label[0, 0] = 1
        drawn.append((rng.random(shape) < 0.4, label, CLASSES[place % 3]))
    return drawn


def collect(drawn: Drawn) -> SegmentationScore:
    score = SegmentationScore(CLASSES)
    for prediction, label, class_id in drawn:
        score.update(prediction, label, class_id)
    return score


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.integers(3, 12))
def test_agrees_with_torchmetrics(seed: int, count: int) -> None:
    """The Jaccard index over the joined pixels of a class is I / U accumulated over episodes."""
    drawn = draw(seed, count)
    score = collect(drawn).compute()
    expected = {}
    for class_id in CLASSES:
        metric = BinaryJaccardIndex(ignore_index=255)
        for prediction, label, of in drawn:
            if of == class_id:
                metric.update(torch.from_numpy(prediction).int(), torch.from_numpy(label).long())
        expected[class_id] = float(metric.compute())
    assert score.class_iou == pytest.approx(expected, abs=1e-6)
    assert score.miou == pytest.approx(np.mean(list(expected.values())), abs=1e-6)
    both = MulticlassJaccardIndex(2, average="macro", ignore_index=255)
    for prediction, label, _ in drawn:
        both.update(torch.from_numpy(prediction).int(), torch.from_numpy(label).long())
    assert score.fb_iou == pytest.approx(float(both.compute()), abs=1e-6)


def test_agrees_with_a_plain_loop() -> None:
    drawn = draw(1, 9)
    single, totals = [], {class_id: [0, 0] for class_id in CLASSES}
    for prediction, label, class_id in drawn:
        i = u = 0
        for p, t in zip(prediction.flat, label.flat, strict=True):
            if t != 255:
                i += bool(p) and t == 1
                u += bool(p) or t == 1
        single.append(i / u)
        totals[class_id][0] += i
        totals[class_id][1] += u
    score = collect(drawn).compute()
    of = [class_id for _, _, class_id in drawn]
    means = [np.mean([iou for iou, at in zip(single, of, strict=True) if at == c]) for c in CLASSES]
    assert score.class_means == pytest.approx(np.mean(means))
    assert score.class_iou == pytest.approx({c: i / u for c, (i, u) in totals.items()})


def test_class_means_equal_the_releases() -> None:
    numbers = golden("masksplit")
    columns = [numbers[f"evaluation/{name}"] for name in ("class_id", "intersection", "union")]
    scores = EpisodeScores(*columns, np.zeros_like(columns[0]))
    assert class_means(scores) == pytest.approx(numbers["evaluation/mean_of_class_means"], rel=1e-5)
    counted, sums = numbers["evaluation/counted_episodes"], numbers["evaluation/sum_of_iou"]
    for place in np.flatnonzero(counted):
        rows = scores.class_id == place + 1
        one = EpisodeScores(*(getattr(scores, name)[rows] for name in vars(scores)))
        assert class_means(one) == pytest.approx(sums[place] / counted[place], rel=1e-5)


def test_class_means_weigh_classes_alike_and_leave_out_empty_episodes() -> None:
    class_id, union = np.array([1, 1, 1, 2, 3]), np.array([10, 10, 0, 10, 0])
    scores = EpisodeScores(class_id, np.array([10, 0, 0, 2, 0]), union, union)
    assert class_means(scores) == pytest.approx((0.5 + 0.2) / 2)


def test_counts_and_means_equal_the_releases() -> None:
    numbers = golden("miou")
    class_id, classes = numbers["episodes/class_id"], numbers["episodes/classes"].tolist()
    score = SegmentationScore(classes)
    for place, label in enumerate(class_id.tolist()):
        prediction, mask = (
            numbers[f"episodes/{place:02d}.{name}"] for name in ("prediction", "label")
        )
        score.update(prediction, mask, label)
    scores, means = score.scores, score.compute()
    assert len(scores) == len(class_id)
    for name in ("intersection", "union"):
        background, foreground = numbers[f"results/{name}"].T
        np.testing.assert_array_equal(getattr(scores, name), foreground)
        np.testing.assert_array_equal(getattr(scores, f"bg_{name}"), background)
    found = [means.class_iou[label] for label in classes]
    np.testing.assert_allclose(found, numbers["results/class_iou"], rtol=1e-5)
    assert means.miou == pytest.approx(numbers["results/pfenet.miou"], rel=1e-5)
    assert means.fb_iou == pytest.approx(numbers["results/pfenet.fb_iou"], rel=1e-5)
    assert 100 * means.miou == pytest.approx(numbers["results/hsnet.miou_percent"], rel=1e-5)
    assert 100 * means.fb_iou == pytest.approx(numbers["results/hsnet.fb_iou_percent"], rel=1e-5)


def test_the_background_union_follows_from_the_rest() -> None:
    drawn = draw(4, 6)
    scores = collect(drawn).scores
    for place, (prediction, label, _) in enumerate(drawn):
        known = label != 255
        background = known & (label == 0)
        assert scores.bg_union[place] == (background | (known & ~prediction)).sum()
        assert scores.bg_intersection[place] == (background & ~prediction).sum()


def test_integer_predictions_count_like_bool() -> None:
    drawn = draw(2, 6)
    one = collect(drawn).scores
    other = collect([(p.astype(np.uint8), t, c) for p, t, c in drawn]).scores
    np.testing.assert_array_equal(one.intersection, other.intersection)


@pytest.mark.parametrize(
    ("prediction", "label", "class_id", "message"),
    [
        (np.zeros((2, 2)), np.ones((2, 3)), 3, r"one shape .*\(2, 2\) and \(2, 3\)"),
        (np.zeros((2, 2)), np.ones((2, 2)), 4, "expected a class of"),
        (np.zeros((2, 2)), np.full((2, 2), 7), 3, r"labels 0, 1, 255, but got \[7\]"),
        (np.zeros((2, 2)), np.zeros((2, 2)), 3, "with foreground"),
        (np.full((2, 2), 2), np.ones((2, 2)), 3, r"predictions 0, 1, but got \[2\]"),
    ],
)
def test_broken_episodes_are_refused(
    prediction: np.ndarray, label: np.ndarray, class_id: int, message: str
) -> None:
    score = SegmentationScore(CLASSES)
    with pytest.raises(ValueError, match=message):
        score.update(prediction.astype(np.uint8), label.astype(np.uint8), class_id)
    assert len(score.scores) == 0


def test_a_mean_without_one_of_the_classes_is_refused() -> None:
    with pytest.raises(ValueError, match=r"none of \[9\]"):
        collect(draw(0, 2)).compute()


def test_seeds_are_pooled_by_accumulation() -> None:
    one, other = (
        EpisodeScores(*np.array([[3], [10], [20], [5]])),
        EpisodeScores(*np.array([[3], [30], [40], [5]])),
    )
    pooled = EpisodeScores.concatenate([one, other])
    assert len(pooled) == 2
    assert summarise(pooled).miou == pytest.approx(40 / 60)
