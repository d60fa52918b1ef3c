"""Cells of folds and of their mean."""

from umtfss.experiment.load import load_experiment
from umtfss.experiment.schema import Experiment
from umtfss.plan.plan import Plan
from umtfss.plan.tables.paper import paper_numbers


def with_folds(folds: list[int]) -> Experiment:
    experiment = load_experiment("voc_cpu")
    tables = experiment.tables.model_copy(update={"folds": folds})
    return experiment.model_copy(update={"tables": tables})


def test_the_papers_mean_stands_beside_a_mean_of_all_folds_alone() -> None:
    printed = paper_numbers()["table6"]["UMTFSS_20"][0]
    key = {"model": "umtfss", "ratio": 20, "dataset": "pascal", "shot": 1}
    for folds in ([0, 1, 2, 3], [1, 3]):
        table = Plan(with_folds(folds)).runs.table_named("table6")
        mean, one = table.cell(key), table.cell({**key, "fold": 1})
        assert mean.place == ("UMTFSS, 20 %", "pascal 1-shot mean")
        assert one.place == ("UMTFSS, 20 %", "pascal 1-shot fold 1")
        assert mean.paper == (printed[-1] if len(folds) == 4 else None)
        assert one.paper == printed[1]


def test_every_trained_model_is_measured_with_every_training_seed() -> None:
    experiment = load_experiment("paper", seed=7)
    evaluation = experiment.evaluation.model_copy(update={"training_seeds": 3})
    plan = Plan(experiment.model_copy(update={"evaluation": evaluation}))
    once = Plan(experiment)
    for table, single in zip(plan.runs.every_table, once.runs.every_table, strict=True):
        assert [c.paper for c in table.cells] == [c.paper for c in single.cells]
        for cell, alone in zip(table.cells, single.cells, strict=True):
            measured: dict[int, set[int]] = {}
            for m in cell.measurements:
                measured.setdefault(m.run.seed, set()).add(m.fold)
            trained = any(m.run.is_trained for m in cell.measurements)
            seeds = [7, 8, 9] if trained else [0] * bool(cell.measurements)
            folds = {m.fold for m in alone.measurements}
            assert measured == dict.fromkeys(seeds, folds)
            assert len(cell.measurements) == len(folds) * len(seeds)
    assert len(plan.runs.trained_runs) == 3 * len(once.runs.trained_runs)
    for run in plan.runs.trained_runs:
        assert run.initial is None or run.initial.seed == run.seed
        assert plan.paths.training_episodes(run).endswith(f"-seed{run.seed}.h5")
    assert plan.runs.main_run == once.runs.main_run  # pictures show the first seed


def test_a_table_says_which_tested_splits_are_not_the_test_split() -> None:
    assert Plan(load_experiment("voc_dev")).runs.tables[0].development == ("pascal/dev",)
    for table in Plan(load_experiment("voc_best")).runs.tables:
        assert table.development == ()


def test_a_table_says_whether_rare_classes_may_be_left_out() -> None:
    for name, leaves_out in (("voc_dev", True), ("voc_cpu", False)):
        assert {table.leaves_out for table in Plan(load_experiment(name)).runs.tables} == {
            leaves_out
        }
