"""Weights that fit their experiment."""

from pathlib import Path

import pytest

from umtfss.common.errors import StoreError
from umtfss.common.manifests import write_manifest
from umtfss.evaluation.weights import check_weights
from umtfss.experiment.load import load_experiment
from umtfss.plan.jobs.train_model import TrainModel
from umtfss.plan.plan import Plan
from umtfss.plan.run import RunSpec


@pytest.fixture
def plan(tmp_path: Path, monkeypatch) -> Plan:
    monkeypatch.chdir(tmp_path)
    return Plan(load_experiment("demo"))


def test_what_is_not_trained_is_refused_and_what_needs_no_training_passes(plan):
    check_weights(plan, RunSpec("prototype"))
    with pytest.raises(StoreError, match=r"has not been trained(?s:.*)--config experiment=demo --"):
        check_weights(plan, plan.runs.main_run)


def test_weights_of_other_settings_are_refused(plan):
    run = plan.runs.main_run
    (manifest,) = plan.paths.training_manifest(run)
    behind = TrainModel.of_run(plan, run).made_with()
    write_manifest(manifest, "training", "0", settings=behind)
    check_weights(plan, run)
    changed = {**behind, "pool": {**behind["pool"], "clusters": 99}}
    write_manifest(manifest, "training", "0", settings=changed)
    with pytest.raises(StoreError, match=r"pool\.clusters 99(?s:.*)experiment=demo --"):
        check_weights(plan, run)
