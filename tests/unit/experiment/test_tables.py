"""What the settings of tables ask of other blocks."""

import pytest

from umtfss.experiment.tables import (
    HeadlineConfig,
    Table1Config,
    Table2Config,
    Table5Config,
    Table6Config,
    TableConfig,
    TablesConfig,
)

ONE = {"dataset": "a", "pool": "p"}


def test_the_filled_tables_come_in_the_order_of_their_keys():
    tables = TablesConfig(table3=TableConfig(**ONE), headline=HeadlineConfig(**ONE), note="none")
    assert list(tables.filled) == ["headline", "table3"]
    assert tables.tested == [("tables.headline", "a", "p"), ("tables.table3", "a", "p")]


@pytest.mark.parametrize(
    ("block", "tested"),
    [
        (HeadlineConfig(**ONE, other_pools=["q"]), [("", "a", "p"), (".other_pools", "a", "q")]),
        (
            Table5Config(datasets={"a": "p", "b": "q"}),
            [(".datasets", "a", "p"), (".datasets", "b", "q")],
        ),
    ],
)
def test_every_pool_is_asked_for(block, tested):
    assert block.tested == tested


def test_trainings_on_labels_are_asked_for():
    assert TableConfig(**ONE).labelled == []
    assert Table1Config(**ONE).labelled == [("supervised", "a")]
    assert Table1Config(**ONE, rows=["unsup"]).labelled == []
    assert Table2Config(**ONE).labelled == [("supervised", "a"), ("fine_tuning", "a")]
    assert Table6Config(datasets={"a": "p"}).labelled == [("fine_tuning", "a")]
    assert Table6Config(datasets={"a": "p"}, ratios=[]).labelled == []


def test_models_and_pools_split_by_labels_are_named():
    assert Table1Config(**ONE, models=["masksplit"]).listed_models == ["masksplit"]
    assert Table2Config(**ONE, models=["cyctr"]).listed_models == ["cyctr"]
    assert TableConfig(**ONE).listed_models == []
    assert Table5Config(datasets={"a": "p"}).split_pools == ["p"]
    assert Table5Config(datasets={"a": "p"}, settings=["all"]).split_pools == []
