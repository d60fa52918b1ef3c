"""What `umtfss plan` prints."""

from umtfss.experiment.load import load_experiment
from umtfss.plan.cost import estimate
from umtfss.plan.plan import Plan
from umtfss.plan.rates import cpu_rates
from umtfss.plan.summary import sharing_rows, summary_notes, summary_tables


def test_a_training_that_cells_share_is_counted_once_and_its_saving_is_told():
    rows = {row[0]: row[1:] for row in sharing_rows(Plan(load_experiment("paper")))}
    assert rows["table3"] == (10, 2, 10, 8)  # five cells of either attention share a run
    assert rows["table4"] == (25, 25, 25, 0)  # every pair of numbers has a run of its own


def test_runs_sharing_cost_and_features_have_a_table_each():
    plan, rates = Plan(load_experiment("demo")), cpu_rates()
    tables = {str(one.title): one for one in summary_tables(plan, rates)}
    assert list(tables) == [
        "Runs of demo",
        "Trainings that cells share",
        f"Cost on {rates.of}, rough",
        "Cost of one table alone",
        "Features of trainings, either way",
    ]
    assert tables["Runs of demo"].row_count == len(plan.runs.sharing)
    jobs = list(tables[f"Cost on {rates.of}, rough"].columns[1].cells)
    assert jobs[-1] == str(sum(one.jobs for one in estimate(plan, rates)))
    assert next(iter(summary_notes(plan, rates))).startswith("memory of the largest job")
