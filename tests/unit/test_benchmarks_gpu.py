"""`python -m benchmarks.gpu` on the CPU at tiny sizes, and that its checks can fail."""

import csv
import os
import signal
import subprocess
import sys
import time
import tomllib

import pytest
import torch

from umtfss.common.files import PACKAGE_ROOT

sys.path.append(str(PACKAGE_ROOT))  # benchmarks/ is not part of the installed package

from benchmarks.gpu.correct import compare_jobs, computed, is_finite, largest_error
from benchmarks.gpu.inputs import episodes, learner
from benchmarks.gpu.report import Budget, Row, Table, check, goal, run

MODULES = {"pillow": "PIL", "pyyaml": "yaml", "scikit-image": "skimage", "faiss-cpu": "faiss"}
OF_TORCH = {"torch", "torchvision", "numpy", "pillow"}
OPTIONAL = {"timm", "faiss"}
# Refuses the modules that a machine with the listed packages lacks.
RUN = """
import builtins, runpy, sys
absent, real = sys.argv[1].split(","), builtins.__import__
def listed(name, *arguments, **keywords):
    if name.partition(".")[0] in absent:
        raise ModuleNotFoundError(f"{name} is not in benchmarks/gpu_requirements.txt")
    return real(name, *arguments, **keywords)
builtins.__import__ = listed
sys.argv = ["gpu", *sys.argv[2:]]
runpy.run_module("benchmarks.gpu", run_name="__main__")
"""


def absent_modules() -> set[str]:
    """The package's requirements that the check of a GPU does without."""
    project = tomllib.loads((PACKAGE_ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    needed = [*project["dependencies"], *extras["pipeline"], *extras["cpu"]]
    names = {line.partition(">")[0] for line in needed}
    listed = (PACKAGE_ROOT / "benchmarks/gpu_requirements.txt").read_text().splitlines()
    absent = names - set(listed) - OF_TORCH
    return {MODULES.get(name, name.partition("-")[0]) for name in absent}


def test_everything_runs_on_a_cpu_with_the_listed_packages(tmp_path):
    absent, table = absent_modules(), tmp_path / "gpu.csv"
    assert absent >= OPTIONAL
    arguments = ["--out", str(table), "--device", "cpu", "--small", "--seconds", "1000"]
    command = [sys.executable, "-c", RUN, ",".join(absent), *arguments]
    done = subprocess.run(command, cwd=PACKAGE_ROOT, capture_output=True, text=True, check=False)
    with open(table, newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert done.returncode == 0, done.stdout + done.stderr
    verdicts = {row["verdict"] for row in rows}
    assert verdicts == {"", "ok", "missing"}  # tiny sizes judge no speed
    assert {row["what"].partition(",")[0] for row in rows if row["verdict"] == "missing"} == {
        "timm",
        "faiss",
    }
    for part in ("models", "steps", "tests", "time shares", "mixed precision", "repeated", "jobs",
                 "distributed", "extraction", "k-means"):  # fmt: skip
        assert len([row for row in rows if row["part"] == part]) > 1, part
    iou = [float(row["note"].split()[1]) for row in rows if row["part"] == "jobs" and row["note"]]
    assert min(iou) > 1  # a model that predicts nothing would agree with everything


def fine(setup):
    assert setup.folder.is_dir()
    yield check("fine", 1e-6, 1e-4)


def raises(setup):
    yield Row("before", 1.0)
    raise ValueError("why\nmore")


def crashes(setup):
    yield Row("before", 1.0)
    os.kill(os.getpid(), signal.SIGKILL)


def hangs(setup):
    yield Row("before", 1.0)
    time.sleep(100)


def test_what_a_part_found_stays_whatever_it_does_then(tmp_path):
    table = Table(tmp_path / "gpu.csv")
    parts = [Budget(part.__name__, part, 3) for part in (raises, crashes, hangs, fine)]
    run(parts, "cpu", False, table, 60)
    run([Budget("late", fine, 3)], "cpu", False, table, 0)
    found = [(row["part"], row["what"], row["verdict"]) for row in table.rows()]
    assert [row for row in found if row[1] != "time"] == [
        ("raises", "before", ""),
        ("raises", "ValueError", "error"),
        ("crashes", "before", ""),
        ("crashes", "crashed", "error"),
        ("hangs", "before", ""),
        ("hangs", "stopped after 3 s", "out of time"),
        ("fine", "fine", "ok"),
        ("late", "not started", "out of time"),
    ]
    assert table.failed()
    assert next(row for row in table.rows() if row["what"] == "ValueError")["value"] == "why"


def test_a_table_of_met_and_missed_goals_has_not_failed(tmp_path):
    table = Table(tmp_path / "gpu.csv")
    for value in (4.0, 6.0):
        table.add("speed", goal("speed", value, "times", 5, judged=True))
    assert [row["verdict"] for row in table.rows()] == ["missed", "met"]
    assert not table.failed()


@pytest.mark.parametrize("error", [2e-4, float("nan"), float("inf")])
def test_an_error_above_its_bound_fails(error):
    assert check("x", error, 1e-4).verdict == "failed"
    assert check("x", 1e-4, 1e-4).verdict == "ok"


def test_errors_are_relative_to_the_largest_value():
    expected = torch.tensor([4.0, 0.0])
    assert largest_error(torch.tensor([4.0, 0.002]), expected) == pytest.approx(5e-4)
    assert largest_error(torch.tensor([4.0, 0.002]), expected, least=40) == pytest.approx(5e-5)
    assert largest_error(torch.tensor([4.0]), expected) == float("inf")
    assert not largest_error(torch.tensor([4.0, torch.nan]), expected) <= 1e-4
    assert not is_finite(float("nan"))


def test_another_weight_gives_other_gradients():
    model, batch = learner("umtfss", dropout=False).eval(), episodes(range(2))
    expected = computed(model, batch)
    with torch.no_grad():
        next(model.head.parameters()).mul_(1.01)
    found = computed(model, batch)
    for kind, values in expected.items():
        errors = map(largest_error, found[kind], values)
        assert max(errors) > 1e-4, kind


def test_jobs_that_differ_by_more_than_a_fifth_of_a_point_fail():
    cpu = {"cached features": 20.0, "live features": 30.0}
    device = {
        "cached features": 20.1,
        "cached features, weights of the CPU": 20.3,
        "live features": 30.0,
    }
    assert [row.verdict for row in compare_jobs(cpu, device)] == ["ok", "failed", "ok"]


def test_episodes_depend_on_their_rows_alone():
    both, second = episodes([3, 7]), episodes([7])
    assert torch.equal(both.query_mid[1:], second.query_mid)
