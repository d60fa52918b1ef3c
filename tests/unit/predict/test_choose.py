"""The choice of a run by the supports."""

from dataclasses import replace

import pytest

from tests.unit.predict.conftest import MATCHER
from tests.unit.predict.drawn import BLUE, support
from umtfss.common.errors import ConfigError, DataError
from umtfss.experiment.load import load_experiment
from umtfss.plan.plan import Plan
from umtfss.predict.choose import Tried, both_runs, run_named, try_runs, verdict
from umtfss.predict.segmenter import Segmenter


def test_a_run_is_named_by_its_path_or_as_the_matcher_on_the_floors_features():
    own = Plan(load_experiment("own_photos"))
    trained, matcher = both_runs(own)
    assert trained == own.runs.main_run == run_named(own, "") == run_named(own, trained.path)
    assert matcher == run_named(own, "prototype") == replace(MATCHER, features="pair")
    with pytest.raises(ConfigError, match="moon"):
        run_named(own, "moon")


def test_the_run_that_finds_the_supports_comes_first(plan, tmp_path, monkeypatch):
    shown = [support(tmp_path, "a", of="red"), support(tmp_path, "b", of="red")]
    bad, good = replace(MATCHER, model="transductive"), MATCHER
    usual = Segmenter.of_run
    found = {bad: {"red": [0.2, 0.3]}, good: {"red": [0.9, 0.8]}}

    def of_run(plan, run, device):
        made = usual(plan, MATCHER, device)
        monkeypatch.setattr(made, "leave_one_out", lambda: found[run])
        return made

    monkeypatch.setattr(Segmenter, "of_run", of_run)
    tried = try_runs(plan, [bad, good], shown)
    assert [one.name for one in tried] == [good.path, bad.path]
    assert verdict(tried) == (
        f"IoU of each support, found by the others: {good.path}: 85.0, used; {bad.path}: 25.0"
    )
    assert tried[0].iou == pytest.approx(0.85)
    assert tried[0].segmenter.classes_ == ("red",)
    found[bad] = found[good]
    tried = try_runs(plan, [bad, good], shown)
    assert [one.name for one in tried] == [bad.path, good.path]


def test_the_supports_are_found_by_each_other(plan, tmp_path):
    shown = [support(tmp_path, "a", of="red"), support(tmp_path, "b", of="red")]
    (tried,) = try_runs(plan, [MATCHER], shown)
    assert tried.iou > 0.85


def test_each_object_counts_once(matcher):
    assert Tried("matcher", matcher, {"a": [1.0, 0.5], "b": [0.0] * 8}).iou == 0.375


def test_an_object_with_one_support_is_refused(plan, tmp_path):
    shown = [support(tmp_path, name, of="red") for name in ("a", "b")]
    shown.append(support(tmp_path, "c", BLUE, "blue"))
    with pytest.raises(DataError, match="cannot be found for blue") as caught:
        try_runs(plan, [MATCHER], shown)
    assert "--run" in str(caught.value)
