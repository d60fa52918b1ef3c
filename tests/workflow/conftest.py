"""A copy of the project that workflow tests may run and change."""

import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from umtfss.common.digests import PROSE, code_closure
from umtfss.experiment.models import MODELS

ROOT = Path(__file__).resolve().parents[2]
RECORDER = Path(__file__).resolve().parent / "recorder"

# The scripts that import a meta-learner's module by its name.
BY_NAME = {
    f"workflow_scripts/{name}.py"
    for name in ("train_model", "evaluate_run", "draw_qualitative_panel", "picture_episodes")
}


@dataclass(frozen=True)
class Project:
    """A copy of the project's tree, its experiment `tiny` the default."""

    root: Path

    def run(
        self, *command: str, check: bool = True, record: bool = False
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in the copy, with the copy's own package."""
        result = subprocess.run(
            command,
            cwd=self.root,
            env=self.recording if record else self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=1100,
        )
        if check and result.returncode:
            pytest.fail(
                f"{command} ended with {result.returncode}:\n{result.stdout[-3000:]}\n"
                f"{result.stderr[-6000:]}"
            )
        return result

    @property
    def environment(self) -> dict[str, str]:
        """The variables of a command: the copy's package comes first."""
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        return {**os.environ, "PYTHONPATH": str(self.root), "PATH": path}

    @property
    def recorded(self) -> dict[str, set[str]]:
        """Script -> the files of the package that it has loaded, as `RECORDER` has noted them."""
        folder = self.root.with_name("recorded")
        return {
            f"workflow_scripts/{path.name}": {
                Path(line).relative_to(self.root).as_posix()
                for line in path.read_text().split("\n")[:-1]
            }
            for path in folder.iterdir()
        }

    @property
    def recording(self) -> dict[str, str]:
        """The variables of a command whose scripts are recorded."""
        return {
            **self.environment,
            "PYTHONPATH": os.pathsep.join([str(RECORDER), str(self.root)]),
            "RECORDED": str(self.root.with_name("recorded")),
            "RECORDED_PROJECT": str(self.root),
        }

    def snakemake(self, *arguments: str, check: bool = True, record: bool = False) -> str:
        """What Snakemake prints."""
        result = self.run("snakemake", "--cores", "2", *arguments, check=check, record=record)
        return result.stdout + result.stderr

    def planned(self, *arguments: str) -> dict[str, int]:
        """Rule -> number of jobs that a dry run lists."""
        lines = self.snakemake("--quiet", "rules", "-n", *arguments).splitlines()
        rows = [line.split() for line in lines]
        return {r[0]: int(r[1]) for r in rows if len(r) == 2 and r[1].isdigit() and r[0] != "total"}

    def edit(self, file: str, old: str, new: str) -> None:
        """Replace a text that must be there once."""
        path = self.root / file
        text = path.read_text()
        assert text.count(old) == 1, f"{old!r} stands {text.count(old)} times in {file}"
        path.write_text(text.replace(old, new))

    @contextmanager
    def edited(self, file: str, old: str, new: str) -> Iterator[None]:
        """`edit` for the block's duration."""
        self.edit(file, old, new)
        try:
            yield
        finally:
            self.edit(file, new, old)


def check_recorded(project: Project, unused: tuple[str, ...]) -> None:
    """What scripts have loaded is what their digests cover.

    Args:
        project: One whose scripts were recorded.
        unused: Beginnings of paths that its experiment has no use for.
    """
    learners = {f"umtfss/models/{name}.py" for name in MODELS}
    idle: dict[str, set[str]] = {}
    for script, loaded in project.recorded.items():
        named = learners & loaded if script in BY_NAME else set()
        closure = code_closure(script, *named, project=project.root)
        covered = {path.relative_to(project.root).as_posix() for path in closure}
        assert loaded - {*PROSE, script} <= covered, script
        rest = covered - loaded - {script}
        idle[script] = {path for path in rest if not path.startswith(unused)}
    assert not any(idle.values()), idle


def copy_project(target: Path) -> Project:
    """A copy of every file that is, or is about to be, in git."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in filter(None, listed.split("\0")):
        if not name.startswith("results/") and (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target / name)
    (target / "results").mkdir()
    shutil.copy2(ROOT / "results/.gitignore", target / "results/.gitignore")
    shutil.copy2(ROOT / "tests/workflow/tiny.yaml", target / "experiments/tiny.yaml")
    project = Project(target)
    project.edit("config.yaml", "experiment: demo", "experiment: tiny")
    return project


def changed_project(target: Path, change: Callable[[dict[str, Any]], None]) -> Project:
    """A copy whose experiment `tiny` `change` has changed."""
    project = copy_project(target)
    path = project.root / "experiments/tiny.yaml"
    raw = yaml.safe_load(path.read_text())
    change(raw)
    path.write_text(yaml.safe_dump(raw))
    return project


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A copy in which nothing has run; tests must leave it so."""
    return copy_project(tmp_path_factory.mktemp("fresh") / "umtfss")


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A copy in which every table and figure of `tiny`, and its report, have been made.

    All processes of a test run share it, so tests must leave it as it is.
    """
    base = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        base = base.parent
    folder = base / "made"
    with open(base / "made.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "complete").exists():
            shutil.rmtree(folder, ignore_errors=True)
            project = copy_project(folder / "umtfss")
            project.snakemake("all_tables", "all_figures", "all_report", record=True)
            (folder / "complete").touch()
    return Project(folder / "umtfss")


@pytest.fixture(scope="module")
def finished(made: Project, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A copy of `made` that tests may change."""
    root = tmp_path_factory.mktemp("finished") / "umtfss"
    shutil.copytree(made.root, root, symlinks=True)
    return Project(root)
