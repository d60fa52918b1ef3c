"""From evaluation files to the numbers of a table."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from umtfss.common.errors import StoreError, TableError
from umtfss.evaluation.intervals import Interval, miou_interval
from umtfss.evaluation.miou import EpisodeScores
from umtfss.evaluation.results import FoldResult, RunResult, save_results
from umtfss.plan.cells import Cell, Column, FoldFile, Table
from umtfss.tables.values import cell_value, contrast, table_values


def scores(seed: int, count: int = 60) -> EpisodeScores:
    rng = np.random.default_rng(seed)
    union = rng.integers(100, 1000, count)
    return EpisodeScores(
        np.arange(count) % 3 + 1, (union * rng.random(count)).astype(np.int64), union, union * 2
    )


RESULT = RunResult(
    {}, {f: FoldResult(f, {s: scores(10 * f + s) for s in range(3)}) for f in range(4)}
)


def file(fold: int, seeds: int = 2, *, path: str = "a", training: int | None = None) -> FoldFile:
    return FoldFile(path, fold, seeds, training, "a 1-shot")


def make_cell(measured: tuple[FoldFile, ...], minus: tuple[FoldFile, ...] = ()) -> Cell[FoldFile]:
    return Cell("UMTFSS", Column("mean"), {"model": "umtfss"}, measured, minus=minus)


def cell(folds: tuple[int, ...], seeds: int = 2, path: str = "a") -> Cell[FoldFile]:
    return make_cell(tuple(file(fold, seeds, path=path) for fold in folds))


def value(one: Cell, folds: tuple[int, ...] = (0, 1, 2, 3), result: RunResult = RESULT):
    return cell_value(one, {"a": result}, folds=folds, resamples=200, coverage=0.9)


def test_a_mean_pools_seeds_and_averages_folds() -> None:
    got = value(cell((0, 1, 2, 3)))
    means = []
    for fold in range(4):
        i, u = (
            np.concatenate([getattr(RESULT.folds[fold].seeds[s], name) for s in (0, 1)])
            for name in ("intersection", "union")
        )
        c = np.concatenate([RESULT.folds[fold].seeds[s].class_id for s in (0, 1)])
        means.append(np.mean([i[c == k].sum() / u[c == k].sum() for k in (1, 2, 3)]))
    assert got.value == pytest.approx(100 * np.mean(means))
    pooled = [RESULT.folds[f].pooled(2) for f in range(4)]
    interval = miou_interval([pooled], resamples=200, coverage=0.9)
    assert (got.low, got.high) == (100 * interval.low, 100 * interval.high)
    assert (got.episodes, got.seeds, got.coverage, got.trainings) == (60, 2, 0.9, 0)
    assert got.classes == 3


def test_the_classes_of_all_folds_are_counted() -> None:
    def moved(fold: int, of: EpisodeScores) -> EpisodeScores:
        return replace(of, class_id=of.class_id + 10 * fold)

    folds = {
        fold: FoldResult(fold, {seed: moved(fold, one) for seed, one in result.seeds.items()})
        for fold, result in RESULT.folds.items()
    }
    assert value(cell((0, 1, 2, 3)), result=RunResult({}, folds)).classes == 12
    assert value(cell((1,)), result=RunResult({}, folds)).classes == 3


def test_a_cell_may_be_a_difference_on_the_same_episodes() -> None:
    folds = {
        f: FoldResult(f, {s: worse(scores(10 * f + s), 2) for s in range(3)}) for f in range(4)
    }
    results = {"a": RESULT, "b": RunResult({}, folds)}
    one, base = (cell((0, 1, 2, 3), path=path) for path in results)
    got, own, minus = (
        cell_value(c, results, folds=(0, 1, 2, 3), resamples=200, coverage=0.9)
        for c in (replace(one, minus=base.measurements), one, base)
    )
    assert got.value == pytest.approx(own.value - minus.value)
    assert got.fb_iou == pytest.approx(own.fb_iou - minus.fb_iou)
    assert got.value > 0
    assert got.high - got.low < 0.5 * (own.high - own.low)  # paired


def test_a_mean_averages_training_seeds() -> None:
    one = make_cell(tuple(file(f, path=str(t), training=t) for f in (1, 2) for t in range(3)))
    results = {
        str(seed): RunResult(
            {},
            {
                f: FoldResult(f, {s: worse(scores(10 * f + s), seed) for s in (0, 1)})
                for f in (1, 2)
            },
        )
        for seed in range(3)
    }
    got = cell_value(one, results, folds=(1, 2), resamples=200, coverage=0.9)
    trainings = [[results[s].folds[f].pooled(2) for f in (1, 2)] for s in "012"]
    interval = miou_interval(trainings, resamples=200, coverage=0.9)
    assert (got.value, got.low, got.high) == tuple(
        100 * end for end in (interval.value, interval.low, interval.high)
    )
    assert got.value == pytest.approx(
        np.mean([100 * miou_interval([folds]).value for folds in trainings])
    )
    assert (got.episodes, got.seeds, got.trainings) == (60, 2, 3)
    lacking = {**results, "2": RunResult({}, {1: results["2"].folds[1]})}
    with pytest.raises(TableError, match=r"(?s)'mean': 2 lacks a fold.*expected: 2"):
        cell_value(one, lacking, folds=(1, 2), resamples=200, coverage=0.9)


def worse(one: EpisodeScores, seed: int) -> EpisodeScores:
    """The same episodes, segmented worse with every seed."""
    return replace(one, intersection=one.intersection * (10 - seed) // 10)


def test_a_contrast_pairs_the_episodes_of_one_number_of_shots_alone() -> None:
    def contrasted(shot: int) -> Interval:
        cells = [
            make_cell(tuple(FoldFile("a", f, 2, None, f"a {k}-shot") for f in (0, 1)))
            for k in (shot, 1)
        ]
        terms = ((1, cells[0]), (-1, cells[1]))
        return contrast(terms, {"a": RESULT}, resamples=200, coverage=0.9)

    assert contrasted(1) == Interval(0, 0, 0)
    assert contrasted(5).low < 0 < contrasted(5).high


def test_a_single_fold_is_its_own() -> None:
    got = value(cell((2,), seeds=1))
    assert got.value == pytest.approx(100 * miou_interval([[RESULT.folds[2].seeds[0]]]).value)
    one = RESULT.folds[2].seeds[0]
    foreground = one.intersection.sum() / one.union.sum()
    background = one.bg_intersection.sum() / one.bg_union.sum()
    assert got.fb_iou == pytest.approx(50 * (foreground + background))
    assert got.seeds == 1


def test_a_mean_over_some_folds_is_refused_unless_the_table_has_no_others() -> None:
    with pytest.raises(TableError, match=r"(?s)'UMTFSS'.*'mean'.*\[0, 1, 2, 3\].*\[0, 1, 2\]"):
        value(cell((0, 1, 2)))
    assert value(cell((0, 1)), folds=(0, 1)).value > 0


def test_a_value_says_that_a_training_behind_it_collapsed() -> None:
    assert not value(cell((0, 1, 2, 3))).collapsed
    assert value(cell((0, 1, 2, 3)), result=RunResult({"collapsed": True}, RESULT.folds)).collapsed


def test_a_missing_fold_or_seed_is_named() -> None:
    partial = RunResult({}, {0: RESULT.folds[0]})
    with pytest.raises(TableError, match=r"(?s)a lacks a fold.*expected: 3"):
        value(cell((3,)), result=partial)
    with pytest.raises(StoreError, match=r"seeds \[3\]"):
        value(cell((0,), seeds=4))


def test_uneven_folds_are_refused() -> None:
    uneven = RunResult({}, {**RESULT.folds, 1: FoldResult(1, {0: scores(1, 30)})})
    with pytest.raises(TableError, match=r"(?s)different numbers.*\[30, 60\]"):
        value(cell((0, 1, 2, 3), seeds=1), result=uneven)


def make_table(folder: Path) -> Table[FoldFile]:
    cells = tuple(
        Cell(
            "floor",
            Column(name),
            {"dataset": name},
            tuple(file(f, 1, path=f"{folder}/{name}-1shot.json") for f in range(4)),
        )
        for name in ("a", "b")
    )
    columns = tuple(cell.column for cell in cells)
    return Table("table5", "Title.", "row", ("floor",), columns, cells, (0, 1, 2, 3), "")


def test_every_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(TableError, match=r"(?s)lacks 2 of 2 .*a-1shot\.json.*b-1shot\.json.*snake"):
        table_values(make_table(tmp_path), resamples=100, coverage=0.95)


def test_every_cell_gets_its_value(tmp_path: Path) -> None:
    for name, seed in (("a", 0), ("b", 50)):
        given = {f: {0: scores(seed + f)} for f in range(4)}
        classes = dict.fromkeys(range(4), (1, 2, 3))
        save_results(tmp_path / f"{name}-1shot.json", given, classes=classes, facts={})
    values = table_values(make_table(tmp_path), resamples=100, coverage=0.95)
    assert set(values) == {("floor", "a"), ("floor", "b")}
    assert values["floor", "a"].value != values["floor", "b"].value
    one = miou_interval([[scores(50 + f) for f in range(4)]], resamples=100)
    assert values["floor", "b"].low == pytest.approx(100 * one.low)
