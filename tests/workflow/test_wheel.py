"""The wheel, installed in a new virtual environment and used in another folder."""

import os
import subprocess
import sys
import sysconfig
import venv
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.workflow.conftest import Project, copy_project
from umtfss import __version__
from umtfss.common.digests import digest_code


@dataclass(frozen=True)
class Installed:
    """A project of `umtfss init`, and the environment that the wheel is installed in."""

    folder: Path
    bin: Path

    def run(self, *command: str, status: int = 0) -> str:
        """What a command prints in the project."""
        variables = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "UMTFSS"))}
        variables["PATH"] = os.pathsep.join([str(self.bin), os.environ["PATH"]])
        done = subprocess.run(
            [str(self.bin / "python"), "-m", *command], cwd=self.folder, env=variables,
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=600,
        )  # fmt: skip
        assert done.returncode == status, done.stdout + done.stderr
        return done.stdout + done.stderr


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Project:
    return copy_project(tmp_path_factory.mktemp("source") / "umtfss")


@pytest.fixture(scope="module")
def installed(source: Project, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    base = tmp_path_factory.mktemp("installed")
    pip = (sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check")
    build = ("--no-deps", "--no-index", "--no-build-isolation")
    source.run(*pip, "wheel", *build, "--wheel-dir", str(base), ".")
    (wheel,) = base.glob("*.whl")
    venv.create(base / "venv", symlinks=True)
    scheme = {"base": str(base / "venv"), "platbase": str(base / "venv")}
    packages = Path(sysconfig.get_path("purelib", "venv", scheme))
    (packages / "present.pth").write_text(sysconfig.get_path("purelib"))  # the other packages
    binary = base / "venv/bin"
    install = ("install", "--ignore-installed", *build[:2], str(wheel))
    source.run(*pip, "--python", str(binary / "python"), *install)
    assert (packages / "umtfss/workflow/Snakefile").is_file()
    empty = Installed(base, binary)
    empty.run("umtfss", "init", "my_project")
    return Installed(base / "my_project", binary)


def test_the_command_is_installed_and_says_its_version(installed):
    command = [str(installed.bin / "umtfss"), "--version"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd="/")
    assert done.stdout == f"umtfss {__version__}\n"
    assert "--supports" in installed.run("umtfss", "predict", "--help")


def test_snakemake_plans_the_project_and_an_experiment_of_the_package(installed):
    # `train_model` comes with clusters alone; the photos may come later.
    printed = installed.run("snakemake", "-n", "--quiet", "rules", "--", "all_training")
    assert "train_model" in printed
    assert "own_photos" in installed.run("snakemake", "-n")
    printed = installed.run("snakemake", "-n", "--config", "experiment=tiny", "--", "all_tables")
    assert "rule write_table:" in printed
    assert "results/tiny/tables/table1.tex" in printed


def test_scripts_of_the_package_run(installed):
    settings = "results/tiny/settings.yaml"
    installed.run("snakemake", "--cores", "1", "--config", "experiment=tiny", "--", settings)
    assert "description" in (installed.folder / settings).read_text()


def test_plans_and_digests_are_those_of_a_checkout(installed, source):
    ask = "from umtfss.common.digests import digest_code as d; print(d('workflow_scripts/{}.py'))"
    for script in ("train_model", "write_table"):
        command = [str(installed.bin / "python"), "-c", ask.format(script)]
        done = subprocess.run(command, cwd="/", capture_output=True, text=True, check=True)
        found = digest_code(f"workflow_scripts/{script}.py", project=source.root)
        assert done.stdout.strip() == found
    assert "photos/umtfss/unsup-all/seed0" in installed.run("umtfss", "plan")


def test_a_second_project_does_not_replace_the_first(installed):
    printed = installed.run("umtfss", "init", ".", status=1)
    assert "holds files of a project" in printed
