"""Bootstrap intervals."""

import time
from dataclasses import replace

import numpy as np
import pytest

from umtfss.evaluation.intervals import contrast_interval, miou_interval
from umtfss.evaluation.miou import EpisodeScores, summarise


def simulate(seed: int, count: int, *, classes: int = 4, shift: float = 0.0) -> EpisodeScores:
    """Episodes whose IoU and size vary; classes in turn."""
    rng = np.random.default_rng(seed)
    class_id = np.arange(count) % classes
    union = rng.integers(2_000, 60_000, count)
    iou = np.clip(rng.normal(0.3 + 0.08 * class_id, 0.2) + shift, 0, 1)
    intersection = (iou * union).astype(np.int64)
    return EpisodeScores(class_id, intersection, union, 187_500 - union)


def test_agrees_with_a_plain_loop() -> None:
    folds = [simulate(1, 120), simulate(2, 120)]
    interval = miou_interval(folds, resamples=4000)
    rng = np.random.default_rng(0)
    drawn = []
    for _ in range(4000):
        values = []
        for fold in folds:
            ious = []
            for label in np.unique(fold.class_id):
                rows = np.flatnonzero(fold.class_id == label)
                rows = rng.choice(rows, len(rows))
                ious.append(fold.intersection[rows].sum() / fold.union[rows].sum())
            values.append(np.mean(ious))
        drawn.append(np.mean(values))
    low, high = np.quantile(drawn, [0.025, 0.975])
    width = high - low
    assert interval.low == pytest.approx(low, abs=0.05 * width)
    assert interval.high == pytest.approx(high, abs=0.05 * width)
    assert interval.value == pytest.approx(np.mean([summarise(f).miou for f in folds]))


def test_covers_the_truth_about_as_often_as_it_says() -> None:
    truth = summarise(simulate(0, 400_000)).miou
    intervals = [miou_interval([simulate(k, 200)], resamples=300) for k in range(1, 201)]
    covered = np.mean([one.low <= truth <= one.high for one in intervals])
    assert 0.90 <= covered <= 0.985
    halved = [miou_interval([simulate(k, 200)], resamples=300, coverage=0.5) for k in range(1, 201)]
    assert 0.40 <= np.mean([one.low <= truth <= one.high for one in halved]) <= 0.60


def test_is_reproducible_and_keeps_rare_classes() -> None:
    scores = simulate(3, 41, classes=40)  # one episode for most classes
    interval = miou_interval([scores])
    assert interval == miou_interval([scores])
    assert interval.low <= interval.value <= interval.high


def test_the_interval_of_a_mean_is_narrower_than_a_folds() -> None:
    folds = [simulate(k, 200) for k in range(4)]
    width = {n: (i := miou_interval(folds[:n])).high - i.low for n in (1, 4)}
    assert width[4] == pytest.approx(width[1] / 2, rel=0.25)


def test_a_paired_difference_cancels_what_the_episodes_share() -> None:
    folds = [simulate(k, 400) for k in range(2)]
    better = [
        EpisodeScores(
            f.class_id,
            (f.intersection * 1.02).astype(np.int64).clip(max=f.union),
            f.union,
            f.bg_intersection,
        )
        for f in folds
    ]
    difference = contrast_interval([(1, better), (-1, folds)])
    alone = miou_interval(folds)
    assert difference.value == pytest.approx(miou_interval(better).value - alone.value)
    assert 0 < difference.low < difference.value < difference.high
    assert difference.high - difference.low < 0.1 * (alone.high - alone.low)
    same = contrast_interval([(1, folds), (-1, folds)])
    assert (same.value, same.low, same.high) == (0, 0, 0)


def test_other_episodes_cannot_be_paired() -> None:
    with pytest.raises(ValueError, match=r"identical episodes.* entry 0"):
        contrast_interval([(1, [simulate(1, 50)]), (-1, [simulate(2, 40)])])
    one = simulate(1, 50)
    larger = replace(one, bg_intersection=one.bg_intersection + 1)
    with pytest.raises(ValueError, match="identical episodes"):
        contrast_interval([(1, [one]), (-1, [larger])])
    with pytest.raises(ValueError, match="same folds"):
        contrast_interval([(1, [simulate(1, 50)]), (-1, [])])


def test_a_thousand_resamples_of_five_thousand_episodes_are_quick() -> None:
    scores = simulate(5, 5000, classes=20)
    start = time.process_time()
    miou_interval([scores])
    assert time.process_time() - start < 5


def test_class_means_are_resampled_within_classes() -> None:
    fold = simulate(0, 40, classes=4)
    few = np.arange(40) >= 4  # class 3 has episodes 3, 7, ..; classes are not equally frequent
    rare = np.where(few & (fold.class_id == 3), 0, fold.class_id)
    fold = replace(fold, class_id=rare)
    got = miou_interval([fold], resamples=4000, metric="class_means")
    iou, random, drawn = fold.intersection / fold.union, np.random.default_rng(0), []
    for _ in range(4000):
        means = []
        for label in np.unique(rare):
            rows = np.flatnonzero(rare == label)
            means.append(iou[random.choice(rows, len(rows))].mean())
        drawn.append(np.mean(means))
    low, high = np.quantile(drawn, [0.025, 0.975])
    assert got.low == pytest.approx(low, abs=0.05 * (high - low))
    assert got.high == pytest.approx(high, abs=0.05 * (high - low))
    assert got.value == pytest.approx(np.mean([iou[rare == c].mean() for c in range(4)]))


def test_class_means_leave_out_episodes_without_a_union() -> None:
    fold = simulate(0, 200)
    empty = EpisodeScores(*(np.zeros(3, np.int64) for _ in range(4)))
    empty.class_id[:] = (0, 1, 99)  # class 99 has no other episode
    more = EpisodeScores.concatenate([fold, empty])
    one = miou_interval([fold], resamples=400, metric="class_means")
    with np.errstate(invalid="ignore"):  # class 99 has no IoU
        assert miou_interval([more], resamples=400, metric="class_means") == one
