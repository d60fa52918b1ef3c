"""Diffused features in the pipeline, run for real: ablation, prediction."""

import csv
import json
from typing import Any

import pytest

from tests.workflow.conftest import Project, changed_project
from umtfss.common.digests import digest_file
from umtfss.experiment.load import load_experiment
from umtfss.plan.plan import Plan

pytestmark = pytest.mark.slow


def diffuse(raw: dict[str, Any]) -> None:
    """`tiny` with diffused features and superpixels."""
    lite0 = {"backbone": "efficientnet_lite0", "level": "block10", "long_side": 160}
    settings = {"segments": 6, "neighbours": 5, "channels": 16}
    raw["features"] = {
        "lite0": {**lite0, "mirrored": True},
        "diffused": {"from": "lite0", "diffuse_over": "shapes", **settings},
    }
    raw["floor"] = {"features": "lite0"}
    raw["clustering"]["features"] = "diffused"
    raw["model"] |= {
        "features": "diffused",
        "residual": "centred",
        "prototype": {"self_support": True, "margin": 0.05},
    }
    raw["evaluation"]["refine"] = {"superpixels": 0.5}
    pools = {"dataset": "shapes", "pool": "shapes"}
    raw["tables"] = {
        "headline": {**pools, "seeds": 2},
        "table5": {"datasets": {"shapes": "shapes"}, "settings": ["all"]},
        "ablation": pools,
        "folds": [0, 1],
    }


@pytest.fixture(scope="module")
def diffused(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A copy in which the tables of a diffusing `tiny` have been made."""
    project = changed_project(tmp_path_factory.mktemp("diffused") / "umtfss", diffuse)
    project.snakemake("all_tables")
    return project


def rows(project: Project, table: str) -> dict[str, float]:
    """Row title -> 1-shot mean."""
    lines = csv.DictReader((project.root / f"results/tiny/tables/{table}.csv").open())
    return {r["row"]: float(r["value"]) for r in lines if r["column"].endswith("mean")}


def test_the_rows_are_different_models(diffused):
    plan = Plan(load_experiment(str(diffused.root / "experiments/tiny.yaml")))
    for name, count in (("headline", 3), ("ablation", 11)):
        table = plan.runs.table_named(name)
        assert list(rows(diffused, name)) == list(table.rows)
        assert len({(m.run, m.refine) for m in table.measurements}) == len(table.rows) == count
    headline, ablation = rows(diffused, "headline"), rows(diffused, "ablation")
    floor = headline["prototype matcher (training-free)"]  # of two seeds, and of one
    assert ablation["matcher"] == pytest.approx(floor, abs=5)
    assert ablation["matcher"] != ablation["matcher, diffused"]
    fine = ablation["UMTFSS + matcher, diffused, self-support, superpixels"]
    assert fine != ablation["UMTFSS + matcher, diffused, self-support"]


def test_each_run_reads_its_own_features(diffused):
    root = diffused.root / "results/tiny"
    plan = Plan(load_experiment(str(diffused.root / "experiments/tiny.yaml")))
    for spec in plan.runs.evaluations.values():
        path = diffused.root / plan.paths.evaluation(spec).replace(plan.paths.root, "results/tiny")
        read = json.loads(path.read_text())["facts"]["features"]
        name = plan.features.run_features(spec.run)
        assert plan.features.diffuses(spec.run) == (name == "diffused") == (spec.run.features == "")
        manifests = root.glob(f"features/{name}/shapes/val/shard*/manifest.json")
        assert sorted(read) == sorted(json.loads(p.read_text())["digest"] for p in manifests)


def test_only_refined_evaluations_read_superpixels(diffused):
    plan = Plan(load_experiment(str(diffused.root / "experiments/tiny.yaml")))
    files = sorted((diffused.root / "results/tiny/pseudo_masks").glob("superpixels-*.h5"))
    assert [path.name for path in files] == [
        f"superpixels-shapes-val-shard{shard}.h5" for shard in range(2)
    ]
    for spec in plan.runs.evaluations.values():
        path = diffused.root / plan.paths.evaluation(spec).replace(plan.paths.root, "results/tiny")
        read = json.loads(path.read_text())["facts"]["superpixels"]
        asks = spec.refine == ("superpixels",)
        assert sorted(read) == (sorted(map(digest_file, files)) if asks else [])


def test_a_second_run_does_nothing(diffused):
    assert "Nothing to be done" in diffused.snakemake("all_tables")


def test_a_changed_diffusion_leaves_the_backbone_and_the_floor_alone(diffused):
    with diffused.edited("experiments/tiny.yaml", "channels: 16", "channels: 12"):
        jobs = diffused.planned("all_tables")
    assert jobs["map_pool"] == 1
    assert "extract_features" not in jobs
    assert jobs["diffuse_features"] == 2 * 2  # splits, shards
    # all but the matcher on the backbone's features: clusters of training tasks are diffused, too
    plan = Plan(load_experiment(str(diffused.root / "experiments/tiny.yaml")))
    changed = [
        spec
        for spec in plan.runs.evaluations.values()
        if spec.run.model != "prototype" or plan.features.diffuses(spec.run)
    ]
    assert jobs["evaluate_run"] == len(changed) < len(plan.runs.evaluations)


def test_another_part_of_a_score_tests_again_and_makes_nothing_else(diffused):
    plan = Plan(load_experiment(str(diffused.root / "experiments/tiny.yaml")))
    asking = [spec for spec in plan.runs.evaluations.values() if spec.refine]
    with diffused.edited("experiments/tiny.yaml", "superpixels: 0.5", "superpixels: 0.4"):
        jobs = diffused.planned("all_tables", "all_figures")
    assert jobs["evaluate_run"] == len(asking)
    assert jobs["draw_qualitative_panel"] == 1
    made = {"make_superpixels", "extract_features", "diffuse_features", "train_model"}
    assert not made & set(jobs)


def test_features_of_plain_images_are_others_than_mirrored_ones(diffused):
    with diffused.edited("experiments/tiny.yaml", "mirrored: true", "mirrored: false"):
        jobs = diffused.planned("all_tables")
    assert jobs["extract_features"] == 2 * 2  # splits, shards


def test_photos_are_segmented_by_diffused_features(diffused, tmp_path):
    raw = diffused.root / "results/tiny/data/shapes/raw"
    image = sorted((raw / "images").glob("*.png"))[0]
    mask = raw / "masks" / image.name
    command = ["python", "-m", "umtfss", "predict", str(image), "--out", str(tmp_path)]
    command += ["--support-image", str(image), "--support-mask", str(mask)]
    assert "% (score" in diffused.run(*command).stdout
    diffusion_map = diffused.root / "results/tiny/features/diffused/diffusion.json"
    hidden = diffusion_map.rename(diffusion_map.with_suffix(".hidden"))
    try:
        failed = diffused.run(*command, "--out", str(tmp_path / "other"), check=False)
    finally:
        hidden.rename(diffusion_map)
    assert failed.returncode == 1
    assert "have not been mapped here" in failed.stderr
    assert (
        "--config experiment=tiny -- results/tiny/features/diffused/diffusion.json" in failed.stderr
    )
