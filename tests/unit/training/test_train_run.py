"""A training job: what it starts."""

import json
import os
import sys
from types import SimpleNamespace

import pytest

from umtfss.common.files import PACKAGE_ROOT
from umtfss.episodes.episode import EpisodeList
from umtfss.episodes.mask_split import SplitMasks
from umtfss.episodes.masks import GroundTruthMasks, PseudoMasks
from umtfss.experiment.load import load_experiment
from umtfss.plan.jobs.train_model import TrainModel
from umtfss.plan.plan import Plan
from umtfss.plan.run import TaskSource
from umtfss.training import train_run as training
from umtfss.training.train_run import TrainingFiles, TrainingResources


def files_of(plan, run):
    return TrainingFiles(**plan.inputs.training_inputs(run))


def test_processes_of_several_gpus_find_the_package_and_the_job(monkeypatch):
    """The package may be on this process's path alone, as in a conda environment."""
    started, called = [], []

    def exec_instead(program, command, environment):
        started.append((program, command, environment))
        raise SystemExit

    plan = Plan(load_experiment("demo"))
    run = plan.runs.main_run
    call = (
        TrainModel.of_run(plan, run),
        files_of(plan, run),
        "folder",
        TrainingResources(threads=3, gpus=2, workers=1, log="a.log"),
    )
    monkeypatch.setattr(os, "execve", exec_instead)
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    monkeypatch.setenv("PYTHONPATH", "/elsewhere")
    with pytest.raises(SystemExit):
        training.train_run(*call)
    ((program, command, environment),) = started
    assert program == command[0] == sys.executable
    assert command[-4:-1] == ["2", "-m", "umtfss.training.train_run"]
    assert environment["PYTHONPATH"] == f"{PACKAGE_ROOT}{os.pathsep}/elsewhere"

    monkeypatch.setattr(training, "train_run", lambda *arguments: called.append(arguments))
    monkeypatch.setenv("RANK", "1")  # it opens no log file
    training._called_by_torchrun(command[-1])
    assert called == [call]
    assert json.loads(command[-1])["folder"] == "folder"


def test_only_saliency_tasks_are_split(monkeypatch):
    plan = Plan(load_experiment("demo", seed=3))
    runs = {run.tasks: run for run in plan.runs.trained_runs}
    monkeypatch.setattr(training, "PseudoMaskStore", lambda paths: paths)
    found = {
        tasks: training._masks(TrainModel.of_run(plan, run), files_of(plan, run), "catalog")
        for tasks, run in runs.items()
    }
    assert {tasks: type(masks) for tasks, masks in found.items()} == {
        TaskSource.LABELS: GroundTruthMasks,
        TaskSource.CLUSTERS: PseudoMasks,
        TaskSource.SALIENCY: SplitMasks,
    }
    split = found[TaskSource.SALIENCY]
    assert split.seed == 3
    assert [str(path) for path in split.masks.store] == plan.paths.saliency_masks("shapes", ".json")


def test_how_a_training_runs_decides_nothing():
    plan = Plan(load_experiment("demo"))
    run = plan.runs.main_run
    stage = plan.experiment.training[run.pool]
    changed = stage.model_copy(update={"workers": 7, "checkpoint_minutes": 9.0})
    other = Plan(plan.experiment.model_copy(update={"training": {run.pool: changed}}))
    assert TrainModel.of_run(other, run) == TrainModel.of_run(plan, run)
    longer = stage.model_copy(update={"steps": 70})
    other = Plan(plan.experiment.model_copy(update={"training": {run.pool: longer}}))
    assert TrainModel.of_run(other, run).deciding() != TrainModel.of_run(plan, run).deciding()


def test_classes_are_those_of_the_episodes_or_every_cluster(monkeypatch):
    plan = Plan(load_experiment("demo"))
    runs = {run.tasks: run for run in plan.runs.trained_runs}
    drawn = EpisodeList(["a/0", "a/1"], [0, 1, 0], [9, 2, 9], [[1], [0], [1]], "train")
    monkeypatch.setattr(EpisodeList, "load", lambda path: drawn)
    monkeypatch.setattr(training, "PseudoMaskStore", lambda paths: SimpleNamespace(clusters=4))
    found = {
        tasks: training._classes(TrainModel.of_run(plan, runs[tasks]), files_of(plan, runs[tasks]))
        for tasks in (TaskSource.LABELS, TaskSource.CLUSTERS)
    }
    assert found == {TaskSource.LABELS: (2, 9), TaskSource.CLUSTERS: (0, 1, 2, 3)}
