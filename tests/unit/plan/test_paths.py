"""Where files lie, and what DVC records of them."""

import pytest
import yaml

from umtfss.common.files import PACKAGE_ROOT
from umtfss.experiment.load import load_experiment
from umtfss.plan.paths import Paths


@pytest.mark.parametrize("experiment", ["demo", "own_photos"])
def test_dvc_records_the_folders_that_every_experiment_has(experiment):
    stages = yaml.safe_load((PACKAGE_ROOT / "dvc.yaml").read_text())["stages"].values()
    outs = [one if isinstance(one, str) else next(iter(one)) for s in stages for one in s["outs"]]
    files = [f"results/{experiment}/{name}" for name in ("settings.yaml", "arrows.yaml")]
    paths = Paths(load_experiment(experiment))
    recorded = sorted(one.replace("${experiment}", experiment) for one in outs)
    assert recorded == sorted([*paths.recorded_folders, *files])
