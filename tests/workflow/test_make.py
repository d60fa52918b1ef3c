"""`make`: where the virtual environment lies."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.workflow.conftest import ROOT


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A folder with a space in its name, with all that `make -n` reads."""
    folder = tmp_path / "my project"
    (folder / "envs").mkdir(parents=True)
    for name in ("Makefile", "pyproject.toml", "envs/cpu.lock"):
        shutil.copy(ROOT / name, folder / name)
    return folder


def listed(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The commands that `make tables` would run."""
    command = ["make", "-n", *arguments, "tables"]
    # Without what `make test` hands on to the make below it.
    plain = {
        key: value for key, value in os.environ.items() if not key.startswith(("MAKE", "MFLAGS"))
    }
    return subprocess.run(command, cwd=folder, env=plain, capture_output=True, text=True)


def test_a_space_in_the_path_of_python_is_refused_before_anything_is_installed(clone):
    refused = listed(clone)
    assert refused.returncode != 0
    assert refused.stdout == ""
    assert f'There is a space in "{clone}/.venv/bin"' in refused.stderr
    assert "make VENV=" in refused.stderr


def test_the_environment_may_lie_elsewhere(clone, tmp_path):
    commands = listed(clone, f"VENV={tmp_path}/venv").stdout
    assert f"python3 -m venv {tmp_path}/venv\n" in commands
    assert f"{tmp_path}/venv/bin/python -m pip install" in commands
    assert str(clone) not in commands


def test_the_environment_lies_in_the_project_by_default(clone):
    clone = clone.rename(clone.with_name("project"))
    assert f"{clone}/.venv/bin/python -m pip install" in listed(clone).stdout


@pytest.mark.parametrize("index", ["", "https://index/cpu"])
def test_an_index_without_cuda_is_given_the_lock_without_cuda(clone, index):
    clone = clone.rename(clone.with_name("project"))
    commands = listed(clone, f"TORCH_INDEX={index}").stdout.replace("\\\n", "")
    (clone / ".venv").mkdir()
    (picked,) = [line for line in commands.splitlines() if line.startswith("grep ")]
    subprocess.run(picked, shell=True, cwd=clone, check=True)
    pins = {
        name: {line for line in (clone / name).read_text().splitlines() if "==" in line}
        for name in ("envs/cpu.lock", ".venv/cpu.lock")
    }
    left_out = pins["envs/cpu.lock"] - pins[".venv/cpu.lock"]
    assert pins[".venv/cpu.lock"] <= pins["envs/cpu.lock"]
    assert {line.split("-")[0].split("=")[0] for line in left_out} == (
        {"nvidia", "cuda", "triton"} if index else set()
    )
    (install,) = [line for line in commands.splitlines() if "-r .venv/cpu.lock" in line]
    assert (f"--extra-index-url {index} -r" in " ".join(install.split())) == bool(index)
