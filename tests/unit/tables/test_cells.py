"""Cells of folds and of their mean."""

from umtfss.experiment import Experiment
from umtfss.experiment_file import load_experiment
from umtfss.plan import Plan
from umtfss.tables.layout import paper_numbers


def with_folds(folds: list[int]) -> Experiment:
    experiment = load_experiment("voc_cpu")
    tables = experiment.tables.model_copy(update={"folds": folds})
    return experiment.model_copy(update={"tables": tables})


def test_the_papers_mean_stands_beside_a_mean_of_all_folds_alone() -> None:
    row, printed = "UMTFSS, 20 %", paper_numbers()["table6"]["UMTFSS_20"][0]
    for folds in ([0, 1, 2, 3], [1, 3]):
        table = Plan(with_folds(folds)).table_named("table6")
        mean, one = table.cell(row, "pascal 1-shot mean"), table.cell(row, "pascal 1-shot fold 1")
        assert mean is not None
        assert one is not None
        assert mean.paper == (printed[-1] if len(folds) == 4 else None)
        assert one.paper == printed[1]
