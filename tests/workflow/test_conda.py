"""`--sdm conda`, run by Snakemake's own code with a stand-in for the program `conda`.

The stand-in makes each environment a venv that sees the packages installed here, but not this
project: what an environment made from envs/ holds, without a download.
"""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import yaml

from tests.workflow.conftest import ROOT, Project, copy_project

CONDA = """#!{python}
import json, pathlib, sys, venv
arguments = sys.argv[1:]
if arguments[:1] == ["--version"]:
    print("conda 25.1.1")
elif arguments[:1] == ["info"]:
    print(json.dumps({{"conda_prefix": {prefix!r}, "platform": "linux-64"}}))
elif arguments[:1] == ["config"]:
    print(json.dumps({{"get": {{"channel_priority": "strict"}}}}))
elif arguments[:2] == ["env", "create"]:
    target = pathlib.Path(arguments[arguments.index("--prefix") + 1])
    venv.create(target, symlinks=True)
    site = next(target.glob("lib/python*/site-packages"))
    # a line of code in a .pth, as Debian's own sitecustomize hides any other
    marker = "import builtins; builtins.open(" + repr({used!r}) + ", 'a').write('x')"
    (site / "here.pth").write_text({packages!r} + "\\n" + marker + "\\n")
elif arguments[:1] != ["clean"]:
    sys.exit(f"the stand-in for conda does not know {{arguments}}")
"""


@dataclass(frozen=True)
class CondaProject(Project):
    """A project whose commands find the stand-in, and no package but by Snakemake's own doing."""

    prefix: Path = field(default=Path())

    @property
    def environment(self) -> dict[str, str]:
        variables = dict(super().environment)
        del variables["PYTHONPATH"]
        return {**variables, "PATH": f"{self.prefix}/bin{os.pathsep}{variables['PATH']}"}

    @property
    def environments(self) -> list[Path]:
        """The files of the environments that were made."""
        return sorted((self.root / ".snakemake/conda").glob("*.yaml"))


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> CondaProject:
    folder = tmp_path_factory.mktemp("conda")
    (folder / "bin").mkdir()
    text = CONDA.format(
        python=sys.executable,
        prefix=str(folder),
        packages=sysconfig.get_path("purelib"),
        used=str(folder / "used"),
    )
    (folder / "bin/conda").write_text(text)
    (folder / "bin/conda").chmod(0o755)
    (folder / "bin/activate").write_text('export PATH="$(realpath "$1")/bin:$PATH"\n')
    return CondaProject(copy_project(folder / "umtfss").root, folder)


def test_scripts_and_their_processes_find_the_project_that_is_not_installed(project):
    """The list is made in worker processes: they must import the package too."""
    printed = project.snakemake("--sdm", "conda", "--", "results/tiny/data/shapes/train.json")
    assert "Activating conda environment" in printed
    assert (project.prefix / "used").stat().st_size >= 2  # both scripts ran in the environment
    (made,) = project.environments
    assert made.read_bytes() == (project.root / "envs/cpu.yaml").read_bytes()
    python = made.with_suffix("") / "bin/python"
    alone = subprocess.run(
        [python, "-c", "import torch, umtfss.errors"],
        cwd=project.prefix / "bin",  # `-c` imports from where it is started
        env=project.environment,
        capture_output=True,
        text=True,
    )
    assert "No module named 'umtfss'" in alone.stderr, "the test proves nothing"
    index = json.loads((project.root / "results/tiny/data/shapes/train.json").read_text())
    assert len(index["images"]) > 0


def test_the_source_is_that_of_this_folder_and_not_of_another(project):
    """An edit reaches the environment at once, and the same environment serves it."""
    shutil.rmtree(project.root / "results/tiny", ignore_errors=True)
    with project.edited(
        "umtfss/data/shapes.py", "import json\n", "print('edited here')\nimport json\n"
    ):
        printed = project.snakemake(
            "--sdm", "conda", "--", "results/tiny/data/shapes/generated.json"
        )
    assert "edited here" in printed
    assert len(project.environments) == 1


@pytest.mark.parametrize("options", [("--config", "device=gpu"), ("--profile", "gpu")])
def test_one_switch_chooses_the_gpu_environment(project, options):
    slurm = yaml.safe_load((ROOT / "profiles/slurm/config.yaml").read_text())
    (project.root / "gpu").mkdir(exist_ok=True)  # the Slurm profile without Slurm
    (project.root / "gpu/config.yaml").write_text(
        yaml.safe_dump({"configfile": slurm["configfile"]})
    )
    more = () if "--config" in options else ("--config", "seed=0")
    command = (*options, *more, "--sdm", "conda", "-n", "--", "all_tables")
    assert "Conda environment envs/gpu.yaml will be created" in project.snakemake(*command)


def test_an_unknown_device_is_named(project):
    printed = project.snakemake("-n", "--config", "device=tpu", "--", "all_data", check=False)
    assert "device is 'tpu'" in printed
    assert "Traceback" not in printed
