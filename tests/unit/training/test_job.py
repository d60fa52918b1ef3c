"""A training job: what it starts."""

import os
import sys
from types import SimpleNamespace

import pytest

from umtfss.experiment_file import load_experiment
from umtfss.plan import Plan
from umtfss.provenance import PACKAGE_ROOT
from umtfss.training import job


def test_processes_of_several_gpus_find_the_package(monkeypatch):
    """It may be on this process's path alone, as in a conda environment."""
    started = []

    def exec_instead(program, command, environment):
        started.append((program, command, environment))
        raise SystemExit

    monkeypatch.setattr(os, "execve", exec_instead)
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    monkeypatch.setenv("PYTHONPATH", "/elsewhere")
    with pytest.raises(SystemExit):
        job.train_run("demo", 0, "shapes/umtfss/unsup-all/seed0", threads=3, gpus=2, log="a.log")
    ((program, command, environment),) = started
    assert program == command[0] == sys.executable
    assert command[-5:] == ["demo", "0", "shapes/umtfss/unsup-all/seed0", "3", "a.log"]
    assert environment["PYTHONPATH"] == f"{PACKAGE_ROOT}{os.pathsep}/elsewhere"


def test_only_saliency_tasks_are_cropped(monkeypatch):
    """The crops are those of the experiment, and they decide the weights."""
    plan = Plan(load_experiment("demo"))
    runs = {run.tasks: run for run in plan.trained_runs}
    crops = plan.experiment.episodes.splits
    assert job._splits(plan, runs["saliency"]) == crops
    assert {job._splits(plan, run) for tasks, run in runs.items() if tasks != "saliency"} == {None}

    monkeypatch.setattr(job, "read_manifest", lambda *_: {"digest": ""})
    monkeypatch.setattr(job.DatasetIndex, "load", lambda _: SimpleNamespace(checksum=""))

    def identity(tasks, crop_min):
        splits = crops.model_copy(update={"crop_min": crop_min})
        episodes = plan.experiment.episodes.model_copy(update={"splits": splits})
        changed = plan.experiment.model_copy(update={"episodes": episodes})
        return job._identity(Plan(changed), runs[tasks], "")

    assert identity("saliency", 0.4) != identity("saliency", 0.5)
    assert identity("unsup", 0.4) == identity("unsup", 0.5)
