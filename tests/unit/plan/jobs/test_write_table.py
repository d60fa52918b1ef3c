"""What the writer of a table is given."""

import json
from types import SimpleNamespace

from umtfss.experiment.load import load_experiment
from umtfss.plan.jobs.write_table import WriteTable
from umtfss.plan.plan import Plan


def test_a_job_names_the_files_of_its_table_and_comes_back_from_its_params():
    plan = Plan(load_experiment("demo_seeds"))
    for table in plan.runs.every_table:
        job = WriteTable.of(plan, SimpleNamespace(table=table.name))
        files = list(job.table.measurements)
        assert sorted({file.path for file in files}) == sorted(plan.inputs.table_inputs(table.name))
        assert [file.fold for file in files] == [m.fold for m in table.measurements]
        assert WriteTable.read(json.loads(json.dumps(job.params()))) == job


def test_a_measurement_says_which_training_it_is_of():
    plan = Plan(load_experiment("demo_seeds"))
    table = WriteTable.of(plan, SimpleNamespace(table="headline")).table
    floor, ours = (table.cell({"model": model, "shot": 5}) for model in ("floor", "umtfss"))
    assert {(m.training, m.episodes) for m in floor.measurements} == {(None, "shapes 5-shot")}
    assert {m.training for m in ours.measurements} == {0, 1, 2, 3, 4}
