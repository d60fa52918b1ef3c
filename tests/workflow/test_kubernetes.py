"""profiles/kubernetes, run with a stand-in for kubectl that runs each Job here."""

import importlib.util
import json
import os
import runpy
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import yaml

from tests.workflow.conftest import ROOT, Project, copy_project

PLUGIN = importlib.util.find_spec("snakemake_executor_plugin_cluster_generic")
STATUS = ("python", "profiles/kubernetes/status.py")
KUBECTL = """#!{python}
import json, pathlib, subprocess, sys
folder = pathlib.Path({folder!r})
action, *rest = sys.argv[1:]
if action == "create":
    job = json.load(sys.stdin)
    name = f"job.batch/umtfss-{{len(list(folder.glob('*.json')))}}"
    path = folder / (pathlib.Path(name).name + ".json")
    path.write_text(json.dumps(job))
    container = job["spec"]["template"]["spec"]["containers"][0]
    run = ["sh", "-c", '"$@"; echo $? > "$0"', path.with_suffix(".code"), *container["command"]]
    log = path.with_suffix(".log").open("w")
    subprocess.Popen(run, cwd=container["workingDir"], stdout=log, stderr=log)
    print(name)
elif action == "get" and rest[0] == "pods":
    assert rest[1] == "-l" and rest[2].startswith("job-name=umtfss-"), rest
    waiting = folder / (rest[2].removeprefix("job-name=") + ".waiting")
    state = {{"waiting": {{"reason": waiting.read_text()}}}} if waiting.exists() else {{}}
    print(json.dumps({{"items": [{{"status": {{"containerStatuses": [{{"state": state}}]}}}}]}}))
elif action == "delete":
    (folder / "deleted").write_text(rest[-1])
elif action == "get":
    assert rest[1:] == ["-o", "json"], rest
    job = folder / (pathlib.Path(rest[0]).name + ".json")
    if not job.exists():
        sys.exit(f'Error from server (NotFound): jobs.batch "{{rest[0]}}" not found')
    code = job.with_suffix(".code")
    done = code.read_text().strip() if code.exists() else ""
    status = {{"": {{"active": 1}}, "0": {{"succeeded": 1}}}}.get(done, {{"failed": 1}})
    print(json.dumps({{"status": status}}))
else:
    sys.exit("Unable to connect to the server")
"""


@dataclass(frozen=True)
class Cluster(Project):
    """A project whose commands find the stand-in and the executor plugin."""

    folder: Path = field(default=Path())

    @property
    def environment(self) -> dict[str, str]:
        variables = super().environment
        assert PLUGIN is not None
        assert PLUGIN.origin is not None
        path = [variables["PYTHONPATH"], str(Path(PLUGIN.origin).parents[1])]
        return {
            **variables,
            "PYTHONPATH": os.pathsep.join(path),
            "PATH": f"{self.folder}{os.pathsep}{variables['PATH']}",
        }

    @property
    def jobs(self) -> list[dict]:
        """What was submitted."""
        return [json.loads(path.read_text()) for path in sorted(self.folder.glob("*.json"))]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Cluster:
    if PLUGIN is None:
        pytest.skip("snakemake-executor-plugin-cluster-generic is not installed")
    folder = tmp_path_factory.mktemp("kubernetes")
    (folder / "kubectl").write_text(KUBECTL.format(python=sys.executable, folder=str(folder)))
    (folder / "kubectl").chmod(0o755)
    return Cluster(copy_project(folder / "umtfss").root, folder)


def test_one_pod_per_job_on_the_projects_volume(cluster):
    """The raw images and the parts of the cache reach later jobs, though they are not declared."""
    mounted = f"mountPath: {cluster.root}"
    with cluster.edited("profiles/kubernetes/job.yaml", "mountPath: /umtfss", mounted):
        cluster.snakemake("--profile", "profiles/kubernetes", "--latency-wait", "5",
                          "--seconds-between-status-checks", "1",
                          "results/tiny/clustering/shapes/centroids.h5")  # fmt: skip
    assert (cluster.root / "results/tiny/clustering/shapes/centroids.h5").stat().st_size > 0
    pods = [job["spec"]["template"]["spec"] for job in cluster.jobs]
    assert len(pods) == 1 + 2 + 2 + 1  # images, lists of pool and test images, shards, centroids
    (extract, *_) = (p["containers"][0] for p in pods if "32000M" in json.dumps(p))
    assert extract["workingDir"] == str(cluster.root)
    limits = {"memory": "32000M", "nvidia.com/gpu": "1"}
    assert extract["resources"] == {"requests": {"cpu": "2", "memory": "32000M"}, "limits": limits}
    assert "nvidia.com/gpu" not in json.dumps(pods[0])
    assert {"name": "project", "mountPath": str(cluster.root)} in extract["volumeMounts"]
    assert pods[0]["volumes"][0]["persistentVolumeClaim"] == {"claimName": "umtfss"}


def test_a_project_beside_the_volume_is_refused(cluster):
    """Each pod would start, find no project and fail: better said before."""
    before = len(cluster.jobs)
    submit = ("python", "profiles/kubernetes/submit.py", "1", "100", "0", "job.sh")
    refused = cluster.run(*submit, check=False)
    assert refused.returncode == 1
    assert f"pods would not see the project at {cluster.root}" in refused.stderr
    assert "below /umtfss" in refused.stderr
    assert len(cluster.jobs) == before


@pytest.mark.parametrize(("code", "state"), [("0", "success"), ("3", "failed"), ("", "running")])
def test_status_of_a_job(cluster, code, state):
    job = cluster.folder / f"umtfss-{state}.json"
    job.write_text("{}")
    if code:
        job.with_suffix(".code").write_text(code)
    try:
        found = cluster.run(*STATUS, f"job.batch/{job.stem}").stdout
        assert found == f"{state}\n"
    finally:
        job.unlink()


def test_a_job_that_is_gone_has_failed_and_a_silent_cluster_is_asked_again(cluster, tmp_path):
    asked = (*STATUS, "job.batch/umtfss-gone")
    assert cluster.run(*asked).stdout == "failed\n"
    silent = tmp_path / "kubectl"
    silent.write_text("#!/bin/sh\necho 'Unable to connect to the server' >&2; exit 1\n")
    silent.chmod(0o755)
    path = f"PATH={tmp_path}{os.pathsep}{os.environ['PATH']}"
    assert cluster.run("env", path, *asked).stdout == "running\n"


def test_a_job_whose_image_cannot_be_pulled_is_deleted_and_has_failed(cluster):
    job = cluster.folder / "umtfss-waits.json"
    job.write_text("{}")
    job.with_suffix(".waiting").write_text("ErrImagePull")  # it may be a moment's trouble
    assert cluster.run(*STATUS, "job.batch/umtfss-waits").stdout == "running\n"
    job.with_suffix(".waiting").write_text("ImagePullBackOff")
    asked = cluster.run(*STATUS, "job.batch/umtfss-waits")
    job.unlink()
    assert asked.stdout == "failed\n"
    assert "umtfss-waits cannot start: ImagePullBackOff" in asked.stderr
    assert (cluster.folder / "deleted").read_text() == "job.batch/umtfss-waits"


CONDITION = [{"type": "Failed", "status": "True", "reason": "BackoffLimitExceeded"}]


@pytest.mark.parametrize(
    ("status", "state"),
    [
        ({}, "running"),
        ({"active": 1}, "running"),
        ({"succeeded": 1}, "success"),
        ({"conditions": [{"type": "Complete", "status": "True"}]}, "success"),
        ({"failed": 1}, "failed"),
        ({"failed": 2}, "failed"),
        ({"failed": 12}, "failed"),
        ({"failed": 1, "active": 1}, "running"),
        ({"active": 1, "conditions": [{"type": "Suspended", "status": "True"}]}, "running"),
        ({"failed": 1, "active": 1, "conditions": CONDITION}, "failed"),
        ({"failed": 1, "succeeded": 1}, "success"),
    ],
)
def test_the_states_that_the_api_describes(status, state):
    script = runpy.run_path(str(ROOT / "profiles/kubernetes/status.py"))
    assert script["state_of"]({"status": status}) == state


def test_snakemake_may_ask_for_what_the_scripts_ask():
    parts = list(yaml.safe_load_all((ROOT / "profiles/kubernetes/setup.yaml").read_text()))
    rules = next(part for part in parts if part["kind"] == "Role")["rules"]
    allowed = {(kind, verb) for r in rules for kind in r["resources"] for verb in r["verbs"]}
    asked = {("jobs", "create"), ("jobs", "get"), ("jobs", "delete"), ("pods", "list")}
    assert allowed == asked


def test_every_pod_mounts_the_claim_of_the_setup():
    parts = list(yaml.safe_load_all((ROOT / "profiles/kubernetes/setup.yaml").read_text()))
    job = yaml.safe_load((ROOT / "profiles/kubernetes/job.yaml").read_text())
    pod = next(part for part in parts if part["kind"] == "Pod")
    claim = next(part for part in parts if part["kind"] == "PersistentVolumeClaim")
    assert claim["spec"]["accessModes"] == ["ReadWriteMany"]
    for spec in (pod["spec"], job["spec"]["template"]["spec"]):
        (container,) = spec["containers"]
        assert {"name": "project", "mountPath": "/umtfss"} in container["volumeMounts"]
        volume = next(volume for volume in spec["volumes"] if volume["name"] == "project")
        assert volume["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]
