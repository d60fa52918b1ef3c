"""What is shown of test episodes."""

import pytest

from umtfss.common.errors import ConfigError
from umtfss.experiment.load import load_experiment
from umtfss.figures.show import default_dataset, extremes
from umtfss.plan.plan import Plan
from umtfss.plan.run import RunSpec


def test_best_and_worst_are_shown_from_their_ends():
    best, worst = "the best 2 of 5 episodes, the best first", "the worst 1 of 5 episodes"
    order = [3, 1, 4, 0, 2]
    assert extremes(order, 3) == {best: [3, 1], f"{worst}, the worst first": [2]}
    assert list(extremes(order, 4).values()) == [[3, 1], [2, 0]]
    assert list(extremes(order, 1).values()) == [[3]]
    assert extremes(order, 5) == {"all 5 episodes, the best first": order}


def test_the_data_set_is_one_that_the_run_is_tested_on():
    plan = Plan(load_experiment("paper"))
    assert default_dataset(plan, plan.runs.main_run) == "pascal"
    with pytest.raises(ConfigError, match=r"no table(?s:.*)coco(?s:.*)--dataset"):
        default_dataset(plan, RunSpec("pfenet"))
