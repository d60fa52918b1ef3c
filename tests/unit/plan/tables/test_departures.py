"""The table of departures: what is switched, and against what."""

import pytest

from umtfss.experiment.load import load_experiment
from umtfss.experiment.model import UMTFSS_PRESETS, ModelConfig
from umtfss.experiment.schema import Experiment
from umtfss.experiment.tables import TableConfig
from umtfss.plan.plan import Plan
from umtfss.plan.tables.departures import DIFFERENCE, OURS, RELEASE, SWITCHES


@pytest.fixture
def plan() -> Plan:
    experiment = load_experiment("demo")
    wanted = TableConfig(dataset="shapes", pool="shapes")
    tables = experiment.tables.model_copy(update={"departures": wanted})
    return Plan(experiment.model_copy(update={"tables": tables}))


def key_of(row: str) -> dict[str, str]:
    names = {OURS: "none", RELEASE: "all"}
    return {"taken_back": names.get(row, " ".join(SWITCHES.get(row, ())))}


def test_every_departure_has_a_row() -> None:
    keys = [key for row in SWITCHES.values() for key in row]
    assert sorted(keys) == sorted(UMTFSS_PRESETS["release"])
    block = ModelConfig()
    assert all(block.value(key) != UMTFSS_PRESETS["release"][key] for key in keys)


def test_a_row_takes_its_own_departure_back_and_no_other(plan: Plan) -> None:
    table, own = plan.runs.table_named("departures"), plan.experiment.model
    assert table.rows == (OURS, RELEASE, *SWITCHES)
    for row, keys in {RELEASE: tuple(UMTFSS_PRESETS["release"]), **SWITCHES}.items():
        cell = table.cell(key_of(row))
        assert cell.row == row
        model = plan.runs.model_settings(cell.measurements[0].run)
        assert model == own.changed({key: UMTFSS_PRESETS["release"][key] for key in keys}).of_model(
            "umtfss"
        ).model_copy(update={"preset": model.preset})


def test_differences_are_taken_from_the_model_as_configured(plan: Plan) -> None:
    table = plan.runs.table_named("departures")
    base = table.cell(key_of(OURS))
    assert table.cell({**key_of(OURS), "minus": "none"}) is None
    for row in (RELEASE, *SWITCHES):
        cell = table.cell({**key_of(row), "minus": "none"})
        assert cell.place == (row, DIFFERENCE)
        assert cell.minus == base.measurements
        assert cell.measurements == table.cell(key_of(row)).measurements
    runs = {m.run for m in table.measurements}
    assert len(runs) == 2 + len(SWITCHES)


def test_a_model_block_changes_by_preset(plan: Plan) -> None:
    block: ModelConfig = plan.experiment.model
    released = block.changed({"preset": "release", "k_fg": 7})
    assert (released.umtfss.k_fg, released.umtfss.k_bg, released.padding) == (7, 50, "seen")
    assert released.width == block.width
    assert isinstance(plan.experiment, Experiment)
