"""Runs on test episodes: what is refused before anything is computed."""

from pathlib import Path

import numpy as np
import pytest
import torch

from umtfss.common.digests import digest_file
from umtfss.common.errors import ConfigError, DataError, StoreError
from umtfss.common.manifests import write_manifest
from umtfss.episodes.episode import EpisodeList
from umtfss.evaluation.miou import EpisodeScores
from umtfss.evaluation.results import save_results
from umtfss.experiment.datasets import DATA_ROOT_VARIABLE
from umtfss.experiment.load import load_experiment
from umtfss.figures.tested import EpisodeSet, TestedRun
from umtfss.plan.plan import Plan
from umtfss.plan.run import EvaluationSpec, RunSpec, TaskSource

EPISODES = EpisodeSet("shapes", 1, 1, 0)
FLOOR = RunSpec("prototype")


@pytest.fixture
def plan(tmp_path: Path, monkeypatch) -> Plan:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(DATA_ROOT_VARIABLE, "")  # it is set by what is tested; undone afterwards
    return Plan(load_experiment("demo"))


def opened(plan: Plan, run: RunSpec = FLOOR, tested: EpisodeSet = EPISODES) -> TestedRun:
    return TestedRun(plan, run, tested, (), torch.device("cpu"))


def test_missing_files_are_named_with_the_command_that_makes_them(plan):
    with pytest.raises(StoreError) as error:
        opened(plan, plan.runs.main_run)
    missing = [
        *plan.paths.training_manifest(plan.runs.main_run),
        *plan.paths.training_weights(plan.runs.main_run),
        plan.paths.test_episodes("shapes", 1, 1, 0),
        *plan.paths.raw_marker("shapes"),
    ]
    for path in missing:
        assert path in error.value.fix
    assert "features/" in error.value.fix
    assert "snakemake --cores all --config experiment=demo -- results" in error.value.fix


def test_there_is_no_such_data_set_or_fold(plan):
    with pytest.raises(ConfigError, match=r"no data set 'coco'(?s:.*)shapes"):
        opened(plan, tested=EpisodeSet("coco", 1, 0, 0))
    with pytest.raises(ConfigError, match=r"does not test fold 4(?s:.*)0, 1, 2, 3"):
        opened(plan, tested=EpisodeSet("shapes", 1, 4, 0))


def test_a_run_is_not_shown_on_classes_that_it_was_trained_on(plan):
    labelled = RunSpec("umtfss", "shapes", TaskSource.LABELS, fold=0)
    with pytest.raises(ConfigError, match=r"trained on the classes of fold 1(?s:.*)fold 0"):
        opened(plan, labelled)


def test_an_evaluation_of_other_episodes_is_refused(plan):
    spec = EvaluationSpec(FLOOR, "shapes", 1, (1,), 1)
    inputs = plan.inputs.evaluation_inputs(spec)
    for path in inputs["features"]:
        write_manifest(path, "features", "f")
    (marker,) = plan.paths.raw_marker("shapes")
    Path(marker).parent.mkdir(parents=True)
    Path(marker).write_text("{}")
    path = plan.paths.test_episodes("shapes", 1, 1, 0)
    EpisodeList(["a", "b"], np.array([0]), np.array([7]), np.array([[1]]), "k").save(path)
    one = np.array([1])
    facts = {
        "weights": [],
        "features": ["f"] * len(inputs["features"]),
        "superpixels": [],
        "episodes": {"fold1-seed0": digest_file(path)},
    }
    file = plan.paths.evaluation(spec)
    scores = {1: {0: EpisodeScores(one * 7, one, one, one)}}
    save_results(file, scores, classes={1: [7]}, facts=facts)
    with pytest.raises(DataError, match="folder of data set 'shapes'"):  # which comes next
        opened(plan)
    facts["episodes"] = {"fold1-seed0": "another"}
    save_results(file, scores, classes={1: [7]}, facts=facts)
    with pytest.raises(StoreError, match=r"made with other episodes(?s:.*)--force --config"):
        opened(plan)
