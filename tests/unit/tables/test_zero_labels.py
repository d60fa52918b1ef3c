"""Headline and ablation."""

import pytest

from umtfss.experiment_file import load_experiment
from umtfss.plan import Plan


@pytest.mark.parametrize(
    ("switched_off", "rows"),
    [
        ({}, 13),
        ({"closer": 0.0}, 11),
        ({"self_support": False, "margin": 0.0}, 10),
        ({"residual": "none"}, 11),
    ],
)
def test_every_row_of_the_ablation_has_a_run_of_its_own(switched_off, rows):
    experiment = load_experiment("voc_cpu")
    model = experiment.model.model_copy(update=switched_off)
    table = Plan(experiment.model_copy(update={"model": model})).table_named("ablation")
    runs = {
        row: {m.run for c in table.cells if c.row == row for m in c.measurements}
        for row in table.rows
    }
    assert len(table.rows) == rows
    assert len(set().union(*runs.values())) == rows
