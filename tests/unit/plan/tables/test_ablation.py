"""The ablation."""

import pytest

from umtfss.experiment.load import load_experiment
from umtfss.plan.plan import Plan


@pytest.mark.parametrize(("superpixels", "rows"), [(0.5, 11), (0, 9)])
def test_every_row_of_the_ablation_has_a_run_of_its_own(superpixels, rows):
    experiment = load_experiment("voc_cpu")
    model = experiment.model.model_copy(update={"superpixels": superpixels})
    table = Plan(experiment.model_copy(update={"model": model})).table_named("ablation")
    assert len(table.rows) == rows
    assert len({measurement.run for measurement in table.measurements}) == rows
    assert any("superpixels" in row for row in table.rows) == bool(superpixels)
