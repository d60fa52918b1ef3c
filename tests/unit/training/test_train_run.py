"""A training job: what it starts."""

import os
import sys

import pytest

from umtfss.common.files import PACKAGE_ROOT
from umtfss.episodes.mask_split import SplitMasks
from umtfss.episodes.masks import GroundTruthMasks, PseudoMasks
from umtfss.experiment.load import load_experiment
from umtfss.plan.plan import Plan
from umtfss.training import train_run as job


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


def test_only_saliency_tasks_are_split(monkeypatch):
    plan = Plan(load_experiment("demo", seed=3))
    runs = {run.tasks: run for run in plan.trained_runs}
    monkeypatch.setattr(job, "PseudoMaskStore", lambda paths: paths)
    found = {tasks: job._masks(plan, run, "catalog") for tasks, run in runs.items()}
    assert {tasks: type(masks) for tasks, masks in found.items()} == {
        "sup": GroundTruthMasks,
        "unsup": PseudoMasks,
        "saliency": SplitMasks,
    }
    split = found["saliency"]
    assert split.seed == 3
    assert [str(path) for path in split.masks.store] == plan.saliency_masks("shapes")
