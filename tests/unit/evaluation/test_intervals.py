"""Intervals over test episodes and training seeds."""

import time
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from umtfss.common.randomness import generator
from umtfss.evaluation.intervals import Term, contrast_interval, miou_interval, rank_interval
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
    interval = miou_interval([folds], resamples=4000)
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
    intervals = [miou_interval([[simulate(k, 200)]], resamples=300) for k in range(1, 201)]
    covered = np.mean([one.low <= truth <= one.high for one in intervals])
    assert 0.90 <= covered <= 0.985
    halved = [
        miou_interval([[simulate(k, 200)]], resamples=300, coverage=0.5) for k in range(1, 201)
    ]
    assert 0.40 <= np.mean([one.low <= truth <= one.high for one in halved]) <= 0.60


def test_a_rank_correlation_agrees_with_a_plain_loop() -> None:
    """Episodes are drawn for all models alike, trainings for every model by itself."""
    printed = [50.0, 52.0, 52.0, 60.0, 61.0, 70.0]
    models = [
        [
            [simulate(10 * fold, 40, shift=0.01 * place + gain * training) for fold in range(2)]
            for training in range(2)
        ]
        for place, gain in ((1, 0.3), (0, 0.1), (2, 0.1), (4, 0.1), (3, 0.1), (9, 0.1))
    ]
    found = rank_interval(models, printed, resamples=2000, coverage=0.8)
    rng, drawn = np.random.default_rng(0), []
    for _ in range(600):
        rows = [
            [rng.choice(np.flatnonzero(np.arange(40) % 4 == label), 10) for label in range(4)]
            for _ in range(2)
        ]
        means = []
        for model in models:
            ious = [
                one.intersection[part].sum() / one.union[part].sum()
                for training in rng.integers(2, size=2)
                for one, parts in zip(model[training], rows, strict=True)
                for part in parts
            ]
            means.append(np.mean(ious))
        drawn.append(stats.spearmanr(printed, means).statistic)
    means = [np.mean([summarise(one).miou for t in model for one in t]) for model in models]
    assert found.value == pytest.approx(stats.spearmanr(printed, means).statistic)
    low, high = np.quantile(drawn, [0.1, 0.9])
    assert (found.low, found.high) == (pytest.approx(low, abs=0.06), pytest.approx(high, abs=0.06))
    assert found.low < found.value


def test_the_order_in_print_has_rank_correlation_one_and_the_reverse_minus_one() -> None:
    models = [[[simulate(1, 40, shift=0.1 * place)]] for place in range(4)]
    for printed, expected in (([1, 2, 3, 9], 1), ([9, 3, 2, 1], -1)):
        found = rank_interval(models, printed, resamples=50)
        assert (found.low, found.value, found.high) == pytest.approx((expected,) * 3)
    other = [*models[:3], [[simulate(1, 44)]]]
    with pytest.raises(ValueError, match="identical episodes"):
        rank_interval(other, [1, 2, 3, 9], resamples=50)


def test_is_reproducible_and_keeps_rare_classes() -> None:
    scores = simulate(3, 41, classes=40)  # one episode for most classes
    interval = miou_interval([[scores]])
    assert interval == miou_interval([[scores]])
    assert interval.low <= interval.value <= interval.high


def test_the_interval_of_a_mean_is_narrower_than_a_folds() -> None:
    folds = [simulate(k, 200) for k in range(4)]
    width = {n: (i := miou_interval([folds[:n]])).high - i.low for n in (1, 4)}
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
    difference = contrast_interval([Term(1, [better]), Term(-1, [folds])])
    alone = miou_interval([folds])
    assert difference.value == pytest.approx(miou_interval([better]).value - alone.value)
    assert 0 < difference.low < difference.value < difference.high
    assert difference.high - difference.low < 0.1 * (alone.high - alone.low)
    same = contrast_interval([Term(1, [folds]), Term(-1, [folds])])
    assert (same.value, same.low, same.high) == (0, 0, 0)


def test_other_episodes_cannot_be_paired() -> None:
    with pytest.raises(ValueError, match=r"identical episodes.* entry 0"):
        contrast_interval([Term(1, [[simulate(1, 50)]]), Term(-1, [[simulate(2, 40)]])])
    one = simulate(1, 50)
    larger = replace(one, bg_intersection=one.bg_intersection + 1)
    with pytest.raises(ValueError, match="identical episodes"):
        contrast_interval([Term(1, [[one]]), Term(-1, [[larger]])])
    with pytest.raises(ValueError, match="same folds"):
        contrast_interval([Term(1, [[simulate(1, 50)]]), Term(-1, [[]])])


def test_a_thousand_resamples_of_five_thousand_episodes_are_quick() -> None:
    scores = simulate(5, 5000, classes=20)
    start = time.process_time()
    miou_interval([[scores]])
    assert time.process_time() - start < 5


def test_class_means_are_resampled_within_classes() -> None:
    fold = simulate(0, 40, classes=4)
    few = np.arange(40) >= 4  # class 3 has episodes 3, 7, ..; classes are not equally frequent
    rare = np.where(few & (fold.class_id == 3), 0, fold.class_id)
    fold = replace(fold, class_id=rare)
    got = miou_interval([[fold]], resamples=4000, metric="class_means")
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
    one = miou_interval([[fold]], resamples=400, metric="class_means")
    with np.errstate(invalid="ignore"):  # class 99 has no IoU
        assert miou_interval([[more]], resamples=400, metric="class_means") == one


LEVEL = 0.5  # the true mIoU of every model below
COMMON, OWN = 0.10, 0.07  # IoU of an episode: what all trainings share, what one has alone
FOLDS, EPISODES = 2, 200

Pool = list[tuple[np.ndarray, np.ndarray]]  # of every fold: (E,) px of the union, (E,) difficulty


def draw_episodes(random: np.random.Generator) -> Pool:
    """Test episodes: the sizes and the difficulty of each, the same for all trainings."""
    return [
        (random.integers(10_000, 60_000, EPISODES), random.normal(0, COMMON, EPISODES))
        for _ in range(FOLDS)
    ]


def train(
    random: np.random.Generator, pool: Pool, seeds: int, spread: float, own: float = OWN
) -> list[list[EpisodeScores]]:
    """Trainings whose true mIoU has the mean LEVEL and the standard deviation `spread`."""
    trainings = []
    for shift in random.normal(0, spread, seeds):
        folds = []
        for union, difficulty in pool:
            iou = LEVEL + shift + difficulty + random.normal(0, own, EPISODES)
            hit = np.round(np.clip(iou, 0, 1) * union).astype(np.int64)
            folds.append(EpisodeScores(np.arange(EPISODES) % 4, hit, union, 187_500 - union))
        trainings.append(folds)
    return trainings


def deviations(random: np.random.Generator, pools: int = 1500) -> tuple[float, float]:
    """Standard deviations over draws of episodes: of an mIoU, of a difference of two models."""
    pairs = []
    for _ in range(pools):
        pool = draw_episodes(random)
        pairs.append(
            [np.mean([summarise(f).miou for f in train(random, pool, 1, 0)[0]]) for _ in "ab"]
        )
    values = np.array(pairs)
    return float(values[:, 0].std()), float((values[:, 0] - values[:, 1]).std())


@pytest.mark.parametrize("times", [0, 1, 4])
def test_five_seeds_cover_the_truth_whatever_the_seeds_variance(times: float) -> None:
    """`times`: the variance of the seeds over that of the episodes."""
    random = generator("coverage", times)
    episodes, paired = deviations(random)
    covered, found, above_floor = [], [], []
    for _ in range(1000):
        pool = draw_episodes(random)
        one = miou_interval(train(random, pool, 5, np.sqrt(times) * episodes), resamples=200)
        covered.append(one.low <= LEVEL <= one.high)
        spread = np.sqrt(times / 2) * paired  # of both models together `times` the episodes'
        models = [train(random, pool, 5, spread) for _ in "ab"]
        terms = [Term(1, models[0]), Term(-1, models[1])]
        difference = contrast_interval(terms, resamples=200)
        found.append(difference.low > 0 or difference.high < 0)
        floor = train(random, pool, 1, 0)
        trained = train(random, pool, 5, np.sqrt(times) * paired)
        difference = contrast_interval([Term(1, trained), Term(-1, floor)], resamples=200)
        above_floor.append(difference.low > 0 or difference.high < 0)
    assert 0.93 <= np.mean(covered) <= 0.97
    assert 0.03 <= np.mean(found) <= 0.07
    assert 0.03 <= np.mean(above_floor) <= 0.07


@pytest.mark.parametrize("seeds", [2, 3])
def test_few_seeds_make_intervals_wide_and_not_wrong(seeds: int) -> None:
    random = generator("few seeds", seeds)
    covered, widths = [], {1: 0.0, seeds: 0.0}
    for _ in range(400):
        pool = draw_episodes(random)
        trainings = train(random, pool, seeds, 0.007)
        one, alone = (miou_interval(t, resamples=200) for t in (trainings, trainings[:1]))
        covered.append(one.low <= LEVEL <= one.high)
        widths[seeds] += one.high - one.low
        widths[1] += alone.high - alone.low
    assert np.mean(covered) >= 0.95
    assert widths[seeds] > widths[1]


def test_what_the_episodes_do_to_all_trainings_alike_is_counted_once() -> None:
    random = generator("alike")
    pool = draw_episodes(random)
    one = train(random, pool, 1, 0)
    assert miou_interval(one * 5) == miou_interval(one)  # no spread, nothing of its own
    several = train(random, pool, 5, 0, own=0.2)
    values = [np.mean([summarise(f).miou for f in folds]) for folds in several]
    student = stats.t.ppf(0.975, 4) * np.std(values, ddof=1) / np.sqrt(5)
    whole = miou_interval(several, resamples=4000)
    shared = miou_interval(train(random, pool, 1, 0, own=0), resamples=4000)
    for got, common in (
        (whole.high - whole.value, shared.high - shared.value),
        (whole.value - whole.low, shared.value - shared.low),
    ):
        assert np.sqrt(got**2 - student**2) == pytest.approx(common, rel=0.15)


def test_a_difference_is_taken_seed_by_seed() -> None:
    random = generator("seed by seed")
    pool = draw_episodes(random)
    bad = train(random, pool, 5, 0.05)
    good = [[replace(f, intersection=(f.intersection * 1.05).astype(int)) for f in t] for t in bad]
    paired = contrast_interval([Term(1, good), Term(-1, bad)])
    crossed = contrast_interval([Term(1, good), Term(-1, bad[::-1])])
    assert paired.value == pytest.approx(crossed.value)
    assert paired.low > 0
    assert paired.high - paired.low < 0.3 * (crossed.high - crossed.low)


def test_what_needs_no_training_stands_beside_every_seed() -> None:
    random = generator("floor")
    pool = draw_episodes(random)
    floor, trained = train(random, pool, 1, 0), train(random, pool, 5, 0.02)
    once = contrast_interval([Term(1, trained), Term(-1, floor)])
    assert once == contrast_interval([Term(1, trained), Term(-1, floor * 5)])
    with pytest.raises(ValueError, match=r"same number of training seeds.*\[2, 5\]"):
        contrast_interval([Term(1, trained), Term(-1, trained[:2])])


def test_episodes_of_two_names_are_resampled_independently() -> None:
    one, other = simulate(1, 200), simulate(2, 200, shift=0.1)
    apart = contrast_interval([Term(1, [[one]], "5-shot"), Term(-1, [[other]], "1-shot")])
    parts = [miou_interval([[scores]]) for scores in (one, other)]
    assert apart.value == pytest.approx(parts[0].value - parts[1].value)
    widths = [part.high - part.low for part in parts]
    assert apart.high - apart.low == pytest.approx(np.hypot(*widths), rel=0.1)
    same = contrast_interval([Term(1, [[one]], "5-shot"), Term(-1, [[one]], "1-shot")])
    assert same.high - same.low > widths[0]  # equal counts by chance, not one draw
