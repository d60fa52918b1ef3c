"""A copy of the project that workflow tests may run and change."""

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

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Project:
    """A copy of the project's tree, its experiment `tiny` the default."""

    root: Path

    def run(self, *command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a command in the copy, with the copy's own package."""
        result = subprocess.run(
            command,
            cwd=self.root,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=540,
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

    def snakemake(self, *arguments: str, check: bool = True) -> str:
        """What Snakemake prints."""
        result = self.run("snakemake", "--cores", "2", *arguments, check=check)
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


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A copy in which every table and figure of `tiny` has been made."""
    project = copy_project(tmp_path_factory.mktemp("finished") / "umtfss")
    project.snakemake("all_tables", "all_figures")
    return project
