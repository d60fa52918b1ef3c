"""What `umtfss init` lays down."""

import pytest
import yaml

from umtfss.common.errors import ConfigError
from umtfss.common.files import WORKFLOW_ROOT
from umtfss.experiment.load import experiment_file, load_experiment
from umtfss.experiment.new_project import new_project


def test_the_project_has_an_experiment_of_its_own(tmp_path, monkeypatch):
    monkeypatch.delenv("UMTFSS_DATA_ROOT", raising=False)
    files = new_project(tmp_path / "deep/mine")
    assert all(path.is_file() for path in files)
    monkeypatch.chdir(tmp_path / "deep/mine")
    name = yaml.safe_load((tmp_path / "deep/mine/config.yaml").read_text())["experiment"]
    path = experiment_file(name)
    assert path.is_relative_to(tmp_path)
    shipped = WORKFLOW_ROOT / f"experiments/{name}.yaml"
    assert path.read_text() == shipped.read_text()
    assert load_experiment(name).raw_data_root == tmp_path / "deep/mine/data"
    assert experiment_file("demo") == WORKFLOW_ROOT / "experiments/demo.yaml"
    assert (tmp_path / "deep/mine/README.md").read_text().startswith("# mine\n")


def test_files_are_not_replaced(tmp_path):
    (tmp_path / "config.yaml").write_text("mine")
    with pytest.raises(ConfigError, match=r"config\.yaml(?s:.*)another folder"):
        new_project(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["config.yaml"]
