"""profiles/slurm as it is shipped, on a Slurm cluster of one node that the tests set up.

They need root, Debian's slurmctld, slurmd, slurm-client and munge, and the executor of
`pip install umtfss[slurm]`; without them they are skipped.
"""

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.workflow.conftest import ROOT, Project, copy_project

pytestmark = [pytest.mark.stress, pytest.mark.timeout(1800)]
NODE = ROOT / "tests/slurm_node.sh"
SPLIT = "results/tiny/data/shapes/val.json"
SCRIPT = "workflow_scripts/index_split.py"
QUICK = ("--latency-wait", "5", "--slurm-init-seconds-before-status-checks", "2")


class Cluster(Project):
    """A project whose commands find the executor, wherever it is installed."""

    @property
    def environment(self) -> dict[str, str]:
        variables, spec = super().environment, find_spec("snakemake_executor_plugin_slurm")
        assert spec is not None
        assert spec.origin is not None
        path = [variables["PYTHONPATH"], str(Path(spec.origin).parents[1])]
        return {**variables, "PYTHONPATH": os.pathsep.join(path)}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory) -> Iterator[Cluster]:
    """A project on a machine with a Slurm cluster; its raw images are made by a job of it."""
    lacking = [
        name for name in ("slurmctld", "slurmd", "munged", "squeue") if not shutil.which(name)
    ]
    if not find_spec("snakemake_executor_plugin_slurm"):
        lacking.append("snakemake-executor-plugin-slurm")
    if lacking or os.geteuid():
        pytest.skip(f"not installed: {lacking}" if lacking else "the node is set up by root alone")
    folder = tmp_path_factory.mktemp("slurm")
    subprocess.run([str(NODE), "up", str(folder / "node")], check=True)
    try:
        yield Cluster(copy_project(folder / "umtfss").root)
    finally:
        subprocess.run([str(NODE), "down", str(folder / "node")], check=True)


def run(project: Cluster, *arguments: str, check: bool = True) -> str:
    """What Snakemake prints, run with the profile."""
    return project.snakemake("--profile", "profiles/slurm", *QUICK, *arguments, check=check)


def test_jobs_run_and_a_failed_one_is_tried_again(cluster):
    first = "import os\nif not os.path.exists('tried'):\n    os.mkdir('tried')\n    raise OSError\n"
    with cluster.edited(SCRIPT, '"""\n\nfrom', f'"""\n{first}from'):
        printed = run(cluster, "--", SPLIT)
    assert (cluster.root / SPLIT).is_file()
    assert printed.count("Error in rule index_split") == 1
    assert "Trying to restart job" in printed
    assert "of 2 steps (100%) done" in printed


def test_a_cancelled_job_is_reported(cluster):
    (cluster.root / SPLIT).unlink(missing_ok=True)
    command = ("snakemake", "--cores", "2", "--profile", "profiles/slurm", *QUICK, "--retries", "0")
    with cluster.edited(SCRIPT, '"""\n\nfrom', '"""\nimport time\ntime.sleep(600)\nfrom'):
        process = subprocess.Popen(
            [*command, "--", SPLIT],
            cwd=cluster.root,
            env=cluster.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        jobs, deadline = "", time.monotonic() + 300
        while not jobs and time.monotonic() < deadline:
            time.sleep(1)
            jobs = subprocess.run(
                ["squeue", "--noheader", "--states=R", "--format=%A"],
                capture_output=True,
                text=True,
            ).stdout.strip()
        subprocess.run(["scancel", *jobs.split()], check=True)
        printed, _ = process.communicate(timeout=600)
    assert process.returncode == 1
    assert "Error in rule index_split" in printed
    assert "CANCELLED" in printed
    assert not (cluster.root / SPLIT).exists()
