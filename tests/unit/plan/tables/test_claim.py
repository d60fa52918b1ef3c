"""Cells found by their keys, and sums of them."""

import pytest

from umtfss.plan.cells import Cell, Column, Table
from umtfss.plan.run import Measurement, RunSpec
from umtfss.plan.tables.claim import Cells, Claim, Comparison, difference, signed_sum


def cell(model: str, dataset: str = "pascal", shot: int = 1) -> Cell[Measurement]:
    measured = Measurement(RunSpec(model), dataset, 0, shot, 1)
    return Cell(model, Column("mean"), {"model": model}, (measured,))


@pytest.fixture
def cells() -> Cells:
    quoted = Cell[Measurement]("PPNet", Column("mean"), {"quoted": "PPNet"}, (), 52.8)
    found = (cell("masksplit"), cell("umtfss"), cell("cyctr"), quoted)
    return Cells([Table("table9", "", "", (), (), found, (0,), "")])


def test_a_cell_is_found_by_its_whole_key_if_it_is_measured(cells: Cells) -> None:
    assert cells.cell("table9", model="umtfss") == cell("umtfss")
    assert cells.cell("table9", model="umtfss", shot=1) is None
    assert cells.cell("table9", quoted="PPNet") is None
    assert cells.cell("table8", model="umtfss") is None


def test_values_of_keys_are_those_of_measured_cells(cells: Cells) -> None:
    assert cells.values_of("table9", "model") == ["masksplit", "umtfss", "cyctr"]
    assert cells.values_of("table9", "quoted") == []
    assert cells.values_of("table8", "model") == []
    assert cells.models_of("table9") == ["umtfss", "cyctr"]  # MaskSplit is not the paper's


def test_a_difference_is_taken_on_the_same_episodes_alone() -> None:
    one, other = cell("umtfss"), cell("cyctr")
    assert list(difference("a", one, other)) == [Comparison("a", ((1, one), (-1, other)))]
    assert list(difference("a", one, None)) == []
    assert list(difference("a", one, cell("cyctr", "coco"))) == []
    assert list(difference("a", one, cell("cyctr", shot=5))) == []


def test_a_sum_needs_all_of_its_cells() -> None:
    one, other = cell("umtfss"), cell("cyctr", shot=5)
    assert list(signed_sum("a", (1, one), (-1, other))) == [
        Comparison("a", ((1, one), (-1, other)))
    ]
    assert list(signed_sum("a", (1, one), (-1, None))) == []


def test_a_claim_knows_its_measurements() -> None:
    one, other = cell("umtfss"), cell("cyctr")
    claim = Claim("key", "claim", "test", tuple(difference("a", one, other)))
    assert [m.run.model for m in claim.measurements] == ["umtfss", "cyctr"]
    named = claim.of(lambda m: m.run.model)
    assert list(named.measurements) == ["umtfss", "cyctr"]
