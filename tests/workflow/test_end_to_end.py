"""The whole pipeline, run for real on the procedural data set with packaged weights."""

import csv
import json
import os
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.staleness import TABLE
from tests.workflow.conftest import check_recorded
from umtfss.common.digests import digest_file
from umtfss.evaluation.results import load_result
from umtfss.experiment.datasets import DATA_ROOT_VARIABLE
from umtfss.experiment.load import load_experiment
from umtfss.figures.tested import EpisodeSet, TestedRun
from umtfss.plan.cells import floor_run
from umtfss.plan.plan import Plan

pytestmark = pytest.mark.slow

# `tiny` has made-up images and cached features that are not diffused.
UNUSED = (
    *("umtfss/data/coco.py", "umtfss/data/folder.py", "umtfss/data/voc.py"),
    *("umtfss/data/masks_folder.py", "umtfss/data/pairs.py", "umtfss/common/text.py"),
    *("umtfss/data/coco_json.py", "umtfss/experiment/timm_backbones.py"),
    "umtfss/common/locks.py",  # trainings and shards of features take locks, readers do not
    *("umtfss/backbones/", "umtfss/features/live.py", "umtfss/features/shard.py"),
    *("umtfss/features/diffusion.py", "umtfss/features/pool_graph.py"),
    # A table loads its own template alone, the ledger no number of the paper.
    *("umtfss/tables/templates/", "umtfss/plan/tables/paper.yaml"),
)
# The scripts that `tiny` has no job for: test_diffusion.py, test_arrows.py, and the network.
ELSEWHERE = {"map_pool.py", "diffuse_features.py", "make_superpixels.py", "digest_arrows.py",
             "download_dataset.py"}  # fmt: skip
DEFAULT = "results/tiny/training/shapes/umtfss/unsup-all/seed0"


def test_tables_and_figures_are_there(finished):
    for table in ("headline", *(f"table{number}" for number in range(1, 7))):
        for suffix in (".tex", "_notes.tex", "_page.tex", ".csv", ".md"):
            assert (finished.root / f"results/tiny/tables/{table}{suffix}").stat().st_size > 0
    for suffix in (".png", ".pdf"):
        names = {path.stem for path in (finished.root / "results/tiny/figures").glob(f"*{suffix}")}
        assert names == {
            *("clusters-shapes", "clusters-objects", "label_ratios"),
            *("table4_heatmap", "qualitative"),
        }


def test_scripts_load_what_their_digests_cover(made):
    check_recorded(made, unused=UNUSED)
    scripts = {path.name for path in (made.root / "workflow_scripts").glob("*.py")}
    assert {Path(script).name for script in made.recorded} == scripts - ELSEWHERE
    assert not any("umtfss/models/pfenet.py" in loaded for loaded in made.recorded.values())


def test_a_printed_number_is_that_of_the_stored_episodes(finished):
    """Recomputed here from the per-episode counts, without the project's own code."""
    results = finished.root / "results/tiny"
    rows = csv.DictReader((results / "tables/headline.csv").open())
    floor = [row for row in rows if row["row"].startswith("prototype")]
    printed = float(next(row for row in floor if row["column"] == "1-shot mean")["value"])
    stored = json.loads(
        (results / "evaluation/prototype/training_free/shapes-1shot.json").read_text()
    )
    means = []
    for fold in stored["folds"].values():
        counts = fold["seeds"]["0"]
        total: dict[int, list[int]] = {}
        for class_id, *pair in zip(
            counts["class_id"], counts["intersection"], counts["union"], strict=True
        ):
            old = total.get(class_id, [0, 0])
            total[class_id] = [a + b for a, b in zip(old, pair, strict=True)]
        means.append(sum(i / u for i, u in total.values()) / len(total))
    assert printed > 1
    assert printed == pytest.approx(100 * sum(means) / 2, abs=0.001)


def test_fine_tuning_starts_from_the_unsupervised_weights(finished):
    """Same episodes, steps and seed as from scratch: only where it starts can differ."""
    folder = finished.root / "results/tiny/training/shapes/umtfss/sup-fold0"
    starts = {
        json.loads((folder / name / "manifest.json").read_text())["digest"]
        for name in ("seed0+labels=20", "seed0+labels=20+init=shapes")
    }
    assert len(starts) == 2


def test_a_second_run_does_nothing(finished):
    assert "Nothing to be done" in finished.snakemake("all_tables", "all_figures", "all_report")


def test_the_report_shows_test_episodes_and_every_training(finished):
    page = (finished.root / "results/tiny/report.html").read_text()
    assert page.count('class="episode"') == 20
    assert page.count("<polyline") == 15
    assert page.count("data:image/webp") == 4 * 20 + 5  # four an episode, five figures


def test_a_touched_source_does_nothing_but_a_changed_one_reruns(finished):
    residual = "umtfss/models/residual.py"
    (finished.root / residual).touch()
    assert finished.planned("all_tables") == {}
    with finished.edited(residual, "MATCHER_SCALE = 10.0", "MATCHER_SCALE = 9.0"):
        jobs = finished.planned("all_tables")
    assert jobs["train_model"] == 15
    assert "extract_features" not in jobs


@pytest.mark.parametrize(
    ("old", "new", "key", "below"),
    [
        (
            "test_episodes: 10",
            "test_episodes: 11",
            "datasets.shapes.test_episodes",
            "draw_label_ratios draw_qualitative_panel draw_table4_heatmap evaluate_run "
            "picture_episodes write_claims write_metrics write_report write_table",
        ),
        (
            "bootstrap: 100",
            "bootstrap: 101",
            "evaluation.bootstrap",
            "draw_label_ratios draw_table4_heatmap write_metrics write_report",
        ),
        (
            "models: {masksplit: {batch_size: 3}}",
            "workers: 1, models: {masksplit: {batch_size: 3}}",
            "training.shapes.workers",
            "write_report",
        ),
    ],
    ids=["test_episodes", "bootstrap", "workers"],
)
def test_a_changed_key_reruns_what_the_page_says_and_what_is_below(finished, old, new, key, below):
    with finished.edited("experiments/tiny.yaml", old, new):
        jobs = finished.planned("all_tables", "all_figures", "all_report")
    (row,) = (line for line in TABLE.read_text().splitlines() if line.startswith(f"| {key} |"))
    direct = row.split("|")[3].replace(" ", "").split(",")
    found = {rule for rule in jobs if not rule.startswith("all_")}
    assert found == {*direct, *below.split()}


def test_changing_one_cell_reruns_only_its_runs(finished):
    with finished.edited("experiments/tiny.yaml", "k_fg: [1, 2]", "k_fg: [3, 2]"):
        jobs = finished.planned("all_tables")
    assert jobs["train_model"] == jobs["evaluate_run"] == 1
    assert "extract_features" not in jobs


def test_a_changed_gallery_is_drawn_and_clusters_nothing(finished):
    with finished.edited(
        "umtfss/figures/gallery.py", "per_cluster: int = 8", "per_cluster: int = 9"
    ):
        jobs = finished.planned("all_tables", "all_figures")
    assert set(jobs) == {"draw_cluster_gallery", "all_figures"}


def test_a_killed_training_goes_on_to_the_same_bits(finished):
    """Snakemake and its jobs are killed hard in a training; the next call finishes it."""
    weights = finished.root / DEFAULT / "weights.safetensors"
    target = str(weights.relative_to(finished.root))
    expected = digest_file(weights)
    weights.unlink()
    fast = "steps: 6, checkpoint_minutes: 0.0001"
    with finished.edited("experiments/tiny.yaml", "steps: 6", fast):
        process = subprocess.Popen(
            ["snakemake", "--cores", "2", target],
            cwd=finished.root,
            env=finished.environment,
            start_new_session=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        checkpoint = weights.with_name("checkpoint.pt")
        deadline = time.monotonic() + 120
        while not checkpoint.exists() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        assert checkpoint.exists(), "it was not killed in the middle"
        finished.snakemake("--unlock")
        finished.snakemake(target)
    log = finished.root / "results/tiny/logs/training/shapes/umtfss/unsup-all/seed0.log"
    assert "going on after step" in log.read_text()
    assert digest_file(weights) == expected


@pytest.mark.parametrize("run", [(), ("--run", "prototype")], ids=["trained", "prototype"])
def test_the_users_own_photos_are_segmented(finished, tmp_path, run):
    raw = finished.root / "results/tiny/data/shapes/raw"
    mask = Image.open(raw / "masks/val_00000.png")
    value = int(np.unique(np.array(mask))[1])
    command = ["python", "-m", "umtfss", "predict", "--out", str(tmp_path), *run]
    command += ["--support-image", str(raw / "images/val_00000.png")]
    command += ["--support-mask", str(raw / "masks/val_00000.png"), "--mask-value", str(value)]
    printed = finished.run(*command, str(raw / "images/val_00001.png")).stdout
    assert ("training_free" if run else "shapes/umtfss/unsup-all/seed0 of tiny") in printed
    predicted = np.array(Image.open(tmp_path / "val_00001.png"))
    assert predicted.shape == mask.size[::-1]
    assert set(np.unique(predicted)) <= {0, 255}
    lists = {"coco.json", "results.jsonl", "scores.csv"}
    results = {"val_00001.png", "val_00001-overlay.png"}
    assert {p.name for p in tmp_path.iterdir()} == lists | results
    refused = finished.run(*command, "nothing.jpg", check=False)
    assert refused.returncode == 1
    assert "nothing.jpg is no photo" in refused.stderr
    assert "Traceback" not in refused.stderr


@pytest.mark.parametrize("asked", [("--episode", "3"), ("--all", "--count", "4")])
def test_test_episodes_are_shown(finished, tmp_path, asked):
    picture = tmp_path / "show.png"
    finished.run("python", "-m", "umtfss", "show", "--fold", "1", *asked, "--out", str(picture))
    assert Image.open(picture).width > 600


def test_the_iou_that_is_shown_is_that_of_the_evaluation(finished, monkeypatch):
    monkeypatch.chdir(finished.root)
    monkeypatch.setenv(DATA_ROOT_VARIABLE, "")  # it is set by what is tested; undone afterwards
    plan = Plan(load_experiment("experiments/tiny.yaml"))
    for run in (plan.runs.main_run, floor_run(plan.experiment)):
        tested = TestedRun(plan, run, EpisodeSet("shapes", 2, 1, 0), (), torch.device("cpu"))
        file = f"results/tiny/evaluation/{run.path}/shapes-2shot.json"
        counts = load_result(file).folds[1].seeds[0]
        found = [one.iou for one in tested.find(range(len(counts)))]
        np.testing.assert_array_equal(found, counts.intersection / counts.union)
        np.testing.assert_array_equal(tested.ious, found)
