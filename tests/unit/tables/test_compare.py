"""Two runs on the same test episodes."""

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from umtfss.common.errors import StoreError
from umtfss.evaluation.miou import EpisodeScores
from umtfss.evaluation.results import FoldResult, RunResult, save_results
from umtfss.experiment.evaluation import EvaluationConfig
from umtfss.experiment.load import load_experiment
from umtfss.plan.cells import floor_run
from umtfss.plan.plan import Plan
from umtfss.plan.run import RunSpec
from umtfss.tables.compare import compared, comparison_table, results_of

SETTINGS = EvaluationConfig(bootstrap=400)
FACTS = {"episodes": {"fold0-seed0": "a", "fold1-seed0": "b"}}


def scores(classes, part, seed) -> EpisodeScores:
    """40 episodes of each class; `part` of the union of 100 px is right, give or take."""
    random = np.random.default_rng(seed)
    label = np.repeat(classes, 40)
    hit = np.clip(np.round(100 * part + random.normal(0, 15, len(label))), 0, 100).astype(int)
    return EpisodeScores(label, hit, np.full(len(label), 100), np.full(len(label), 900))


def result(part, seed=0, folds=((1, 2), (3,)), facts=FACTS) -> RunResult:
    own = {
        fold: FoldResult(fold, {0: scores(classes, part, seed + fold)})
        for fold, classes in enumerate(folds)
    }
    return RunResult(facts, own)


def test_differences_are_those_of_the_sums_of_every_class():
    one, other = result(0.4, 1), result(0.5, 2)
    rows = {row.title: row for row in compared([one], [other], SETTINGS, {2: "cow"})}
    assert list(rows) == ["all folds", "fold 0", "fold 1", "class 1", "cow", "class 3"]

    def iou(of, fold, c):
        own = of.folds[fold].seeds[0]
        rows = own.class_id == c
        return own.intersection[rows].sum() / own.union[rows].sum()

    cow = rows["cow"]
    assert (cow.first, cow.second) == pytest.approx((iou(one, 0, 2), iou(other, 0, 2)))
    assert cow.difference.value == pytest.approx(cow.second - cow.first)
    assert cow.episodes == 40
    fold = np.mean([iou(other, 0, c) - iou(one, 0, c) for c in (1, 2)])
    assert rows["fold 0"].difference.value == pytest.approx(fold)
    third = iou(other, 1, 3) - iou(one, 1, 3)
    assert rows["all folds"].difference.value == pytest.approx((fold + third) / 2)
    assert rows["all folds"].episodes == 120


def test_what_both_share_leaves_the_interval():
    """An interval of the difference of equal runs has no width, whatever the runs' own noise."""
    one = result(0.4)
    (row, *_) = compared([one], [one], SETTINGS, {})
    assert (row.difference.low, row.difference.value, row.difference.high) == (0, 0, 0)
    (row, *_) = compared([one], [result(0.4, 7)], SETTINGS, {})
    assert row.difference.low < 0 < row.difference.high
    (row, *_) = compared([one], [result(0.5, 7)], SETTINGS, {})
    assert row.difference.low > 0


def test_several_trainings_widen_the_interval():
    seeds = [result(part) for part in (0.4, 0.5, 0.6)]
    (row, *_) = compared([result(0.4)], seeds, SETTINGS, {})
    (alone, *_) = compared([result(0.4)], [result(0.5)], SETTINGS, {})
    assert row.difference.value == pytest.approx(0.1, abs=0.01)
    assert row.difference.high - row.difference.low > 0.3
    assert alone.difference.high - alone.difference.low < 0.1


def test_only_shared_folds_of_the_same_episodes_are_compared():
    one = result(0.4)
    lone = RunResult(FACTS, {1: one.folds[1]})
    assert [row.title for row in compared([one], [lone], SETTINGS, {})] == ["fold 1", "class 3"]
    with pytest.raises(StoreError, match="not tested on the same folds"):
        list(compared([RunResult(FACTS, {0: one.folds[0]})], [lone], SETTINGS, {}))
    other = replace(one, facts={"episodes": {**FACTS["episodes"], "fold1-seed0": "c"}})
    with pytest.raises(StoreError, match=r"other episodes(?s:.*)another fold1-seed0"):
        list(compared([one], [other], SETTINGS, {}))


def test_results_of_a_run_are_found_by_the_plan(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    plan = Plan(load_experiment("demo"))
    run = plan.runs.main_run
    with pytest.raises(StoreError, match=r"has not been tested here(?s:.*)experiment=demo"):
        results_of(plan, run, "shapes", 1)
    with pytest.raises(StoreError, match=r"with 3 shots(?s:.*)correct the run"):
        results_of(plan, run, "shapes", 3)
    spec = next(o for o in plan.runs.evaluations.values() if (o.run, o.shot) == (run, 1))
    own = {0: {0: scores([1], 0.5, 0)}}
    save_results(plan.paths.evaluation(spec), own, classes={0: [1]}, facts=FACTS)
    (found,) = results_of(plan, run, "shapes", 1)
    np.testing.assert_array_equal(found.folds[0].seeds[0].intersection, own[0][0].intersection)
    assert Path(plan.paths.evaluation(spec)).is_file()
    with pytest.raises(StoreError, match="has not been tested"):
        results_of(plan, floor_run(plan.experiment), "shapes", 1)


def test_the_table_has_percent_and_signs():
    runs = [RunSpec("prototype"), RunSpec("umtfss")]
    rows = list(compared([result(0.4, 1)], [result(0.5, 2)], SETTINGS, {2: "[cow]"}))
    table = comparison_table(rows, "shapes 1-shot", SETTINGS, runs, 3)
    stream = io.StringIO()
    Console(file=stream, width=200).print(table)
    text = stream.getvalue()
    words = " ".join(text.split())
    assert "shapes 1-shot, mIoU in percent; 95% intervals over episodes and 3 trainings" in words
    assert all(run.path in text for run in runs)
    (line,) = [line for line in text.splitlines() if "[cow]" in line]
    cow = rows[4]
    ends = (cow.difference.value, cow.difference.low, cow.difference.high)
    for number in (f"{100 * cow.first:.1f}", "{:+.1f} [{:+.1f}, {:+.1f}]".format(
        *(100 * one for one in ends))):  # fmt: skip
        assert number in line
