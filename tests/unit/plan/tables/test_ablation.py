"""The ablation."""

import pytest

from umtfss.experiment.evaluation import RefineConfig
from umtfss.experiment.load import load_experiment
from umtfss.plan.plan import Plan
from umtfss.plan.run import evaluation_file


@pytest.mark.parametrize(("superpixels", "rows"), [(0.5, 11), (0, 9)])
def test_every_row_of_the_ablation_has_an_evaluation_of_its_own(superpixels, rows):
    experiment = load_experiment("voc_best")
    refine = RefineConfig(superpixels=superpixels)
    evaluation = experiment.evaluation.model_copy(update={"refine": refine})
    table = Plan(experiment.model_copy(update={"evaluation": evaluation})).runs.table_named(
        "ablation"
    )
    assert len(table.rows) == rows
    assert len({evaluation_file(measured) for measured in table.measurements}) == rows
    assert any("superpixels" in row for row in table.rows) == bool(superpixels)
