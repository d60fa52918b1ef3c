"""What DVC shows, and that DVC shows it."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from PIL import Image

from tests.damage import DAMAGES
from umtfss.common.files import PACKAGE_ROOT
from umtfss.common.manifests import check_files, read_sealed
from umtfss.common.verify import verify
from umtfss.plan.jobs.write_metrics import WriteMetrics
from umtfss.tables.metrics import means, write_metrics

TABLE = """row,column,metric,value,low,high,model,shot,fold
floor,1-shot fold 0,miou,40.000,39.000,41.000,floor,1,0
floor,1-shot mean,miou,43.000,42.000,44.000,floor,1,
"UMTFSS, 0 %",1-shot mean,miou,60.500,59.000,61.000,umtfss,1,
quoted,1-shot mean,miou,,,,,1,
"""
ROOT = "results/mine"
RUNS = ("shapes/umtfss/unsup-all/seed0", "shapes/cyctr/unsup-all/seed0")
JOB = WriteMetrics(
    tables={"headline": f"{ROOT}/tables/headline.csv"},
    curves=tuple(f"{ROOT}/training/{run}/log.csv" for run in RUNS),
    pictures=(f"{ROOT}/figures/qualitative.png",),
)
FILES = (f"{ROOT}/metrics.json", f"{ROOT}/dvc.yaml", f"{ROOT}/dvc.json")


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A folder with the experiment `mine`, its table and curves, and the project's dvc.yaml."""
    monkeypatch.chdir(tmp_path)
    for path, text in {
        "config.yaml": "experiment: mine\nseed: 0\n",
        f"{ROOT}/tables/headline.csv": TABLE,
        JOB.curves[0]: "step,loss,iou,rate\n10,0.625,0.25,0.1\n20,0.5,0.375,0.1\n",
        JOB.curves[1]: "step,loss,iou,rate\n10,0.75,0.125,0.1\n",
    }.items():
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_text(text)
    Path(f"{ROOT}/figures").mkdir()
    Image.new("RGB", (8, 8)).save(JOB.pictures[0])
    shutil.copy(PACKAGE_ROOT / "dvc.yaml", "dvc.yaml")
    write_metrics(JOB, *FILES)
    return tmp_path


def test_means_are_the_measured_cells_of_no_single_fold(project):
    assert means(JOB.tables["headline"]) == {
        "floor": {"1-shot mean": 43.0},
        "UMTFSS, 0 %": {"1-shot mean": 60.5},
    }
    Path("plain.csv").write_text("row,column,value\na,b,1.5\n")  # a table without folds
    assert means("plain.csv") == {"a": {"b": 1.5}}


def test_curves_and_pictures_are_declared_relative_to_the_file(project):
    plots = yaml.safe_load(Path(f"{ROOT}/dvc.yaml").read_text())["plots"]
    assert [name for one in plots for name in one] == ["loss", "iou", "figures/qualitative.png"]
    assert plots[1]["iou"]["y"] == {f"training/{run}/log.csv": "iou" for run in RUNS}


@pytest.mark.parametrize("file", FILES)
def test_a_damaged_file_is_named(project, file):
    assert verify(Path(ROOT)).problems == ()
    DAMAGES["flipped"](Path(file))
    assert file in str(verify(Path(ROOT)).problems[0])


def run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_dvc_shows_and_compares_numbers_and_curves(project):
    commit = ("git", "-c", "user.name=t", "-c", "user.email=t@example.org", "commit", "-qm", "made")
    for command in (("git", "init", "-q"), ("dvc", "init", "-q"), ("git", "add", "."), commit):
        run(*command)
    shown = json.loads(run("dvc", "metrics", "show", "--json"))[""]["data"]
    headline = shown[f"{ROOT}/metrics.json"]["data"]["headline"]
    assert headline == means(JOB.tables["headline"])

    Path(JOB.tables["headline"]).write_text(TABLE.replace("60.500", "61.750"))
    write_metrics(JOB, *FILES)
    change = json.loads(run("dvc", "metrics", "diff", "--json"))[f"{ROOT}/metrics.json"]
    assert change == {"headline.UMTFSS, 0 %.1-shot mean": {"old": 60.5, "new": 61.75, "diff": 1.25}}

    plots = json.loads(run("dvc", "plots", "show", "--json"))["data"]
    points = json.dumps(plots["iou"])
    for value in ("0.25", "0.375", "0.125"):
        assert value in points
    assert f"{ROOT}/figures/qualitative.png" in plots


def test_what_git_holds_of_an_experiment_is_whole():
    """Plots with metrics, and manifests that fit."""
    listed = subprocess.run(
        ["git", "ls-files", "results"], cwd=PACKAGE_ROOT, capture_output=True, text=True, check=True
    )
    files = set(listed.stdout.split("\n"))
    recorded = {Path(name).parent for name in files if name.endswith("/metrics.json")}
    assert len(recorded) >= 3
    assert {f"{folder}/dvc.yaml" for folder in recorded} <= files
    for name in ("dvc.json", "tables/claims.json"):
        for path in (PACKAGE_ROOT / folder / name for folder in recorded):
            check_files(path, read_sealed(path, name, {}))
