"""Where the files of a data set lie."""

from pathlib import Path

import pytest

from umtfss.common.errors import ConfigError
from umtfss.data.source import DatasetSource
from umtfss.experiment.datasets import DATA_ROOT_VARIABLE
from umtfss.experiment.load import load_experiment
from umtfss.plan.plan import Plan

VOC = DatasetSource("pascal", "voc2012", "voc")


def test_files_lie_below_the_root_of_raw_data(monkeypatch):
    monkeypatch.setenv(DATA_ROOT_VARIABLE, "/raw")
    assert VOC.files() == Path("/raw/voc")
    assert VOC.files(Path("/elsewhere")) == Path("/elsewhere/voc")


def test_drawn_and_absolute_folders_stand_for_themselves(monkeypatch):
    monkeypatch.delenv(DATA_ROOT_VARIABLE, raising=False)
    drawn = Plan(load_experiment("demo")).paths.source("shapes")
    assert drawn.files() == Path("results/demo/data/shapes/raw")
    assert DatasetSource("pascal", "voc2012", "/mine/voc").files() == Path("/mine/voc")
    monkeypatch.setenv("HOME", "/home/me")
    assert DatasetSource("pascal", "voc2012", "~/voc").files() == Path("/home/me/voc")


def test_the_missing_variable_is_named(monkeypatch):
    monkeypatch.delenv(DATA_ROOT_VARIABLE, raising=False)
    with pytest.raises(ConfigError, match=f"{DATA_ROOT_VARIABLE} is not set"):
        VOC.files()


def test_a_moved_root_changes_no_source(monkeypatch):
    plan = Plan(load_experiment("voc_best"))
    before = plan.paths.source("pascal")
    monkeypatch.setenv(DATA_ROOT_VARIABLE, "/moved")
    assert plan.paths.source("pascal") == before
    assert plan.paths.dataset_root("pascal") == Path("/moved") / before.folder
