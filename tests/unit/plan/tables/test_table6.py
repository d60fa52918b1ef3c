"""Table 6: quoted and measured competitors in rows of their own."""

import pytest

from umtfss.experiment.load import load_experiment
from umtfss.experiment.schema import Experiment
from umtfss.plan.cells import Table
from umtfss.plan.plan import Plan
from umtfss.plan.run import Measurement, RunSpec, TaskSource
from umtfss.plan.tables.claim import Cells
from umtfss.plan.tables.method_notes import NOTES
from umtfss.plan.tables.table6 import competitor_order


def table(**settings: object) -> Table[Measurement]:
    raw = load_experiment("demo").model_dump(by_alias=True)
    raw["tables"]["table6"] |= settings
    return Plan(Experiment.model_validate(raw)).runs.table_named("table6")


@pytest.fixture(scope="module")
def measured() -> Table[Measurement]:
    return table(models=["transductive", "pfenet"])


def test_a_competitor_is_measured_without_labels_and_on_all(measured: Table[Measurement]) -> None:
    rows = ["TransductiveMatcher, training-free", "PFENet, 0 %", "PFENet, 100 %", "UMTFSS, 0 %"]
    assert measured.rows[8:12] == tuple(rows)
    assert all(row.endswith("(quoted)") for row in measured.rows[:8])
    for shot in (1, 5):
        where = {"model": "pfenet", "dataset": "shapes", "shot": shot}
        none, every = (measured.cell({**where, "ratio": ratio}) for ratio in (0, 100))
        assert none is not None
        assert every is not None
        assert {m.run.tasks for m in none.measurements} == {TaskSource.CLUSTERS}
        assert {(m.run.tasks, m.run.init) for m in every.measurements} == {(TaskSource.LABELS, "")}
        assert {m.shot for m in none.measurements + every.measurements} == {shot}
        free = measured.cell({"model": "transductive", "dataset": "shapes", "shot": shot})
        assert free is not None
        assert {m.run for m in free.measurements} == {RunSpec("transductive")}


def test_quoted_numbers_never_stand_in_a_measured_row(measured: Table[Measurement]) -> None:
    for cell in measured.cells:
        if "quoted" in cell.key:
            assert not cell.measurements
        elif cell.key["model"] != "umtfss":
            assert cell.paper is None
            assert cell.measurements


def test_the_note_says_what_a_row_lacks_and_how_it_is_trained(
    measured: Table[Measurement],
) -> None:
    assert NOTES["transductive"] in measured.note
    assert "Training for shapes from scratch: PFENet" in measured.note
    assert NOTES["transductive"] not in table().note
    assert "from scratch" not in table().note


def test_an_order_is_that_of_quoted_means_and_needs_four_models() -> None:
    few = competitor_order(Cells([table(models=["transductive", "pfenet", "repri", "bam"])]))
    assert few.rankings == ()
    claim = competitor_order(
        Cells([table(models=["pfenet", "repri", "transductive", "bam", "asnet"])])
    )
    names = [ranking.name for ranking in claim.rankings]
    assert names == [f"shapes {k}-shot, {r} %, 4 models" for k in (1, 5) for r in (0, 100)]
    printed = {"pfenet": 60.8, "repri": 59.7, "bam": 67.8, "asnet": 66.1}
    for ranking, ratio in zip(claim.rankings[:2], (0, 100), strict=True):
        assert {cell.key["model"]: number for number, cell in ranking.terms} == printed
        for _, cell in ranking.terms:
            assert cell.key == {**cell.key, "ratio": ratio, "shot": 1}
            assert {m.fold for m in cell.measurements} == {0, 1, 2, 3}


def test_a_model_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ValueError, match="nomodel"):
        table(models=["nomodel"])
