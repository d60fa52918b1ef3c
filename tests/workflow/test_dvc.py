"""Record, push, clone, restore, nothing to do: and stale or damaged results are never blessed.

The round trip to S3 takes a server on this machine: `pip install 'umtfss[s3]' 'moto[server]'`.
"""

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.damage import DAMAGES
from tests.workflow.conftest import Project
from umtfss.common.digests import digest_file

pytestmark = pytest.mark.slow

GIT = ("git", "-c", "user.name=t", "-c", "user.email=t@example.org")
RESULTS = "results/tiny"
EPISODES = f"{RESULTS}/evaluation/prototype/training_free/shapes-1shot.json"


def record(project: Project, *remote: str) -> None:
    """Record and push the results of a project, to a remote, and commit what git holds."""
    for command in (
        ("git", "init", "-q"),
        *((("dvc", "remote", "add", "-d", "store", *remote),) if remote else ()),
        ("workflow_scripts/record.sh",),
        ("git", "add", "-A"),
        (*GIT, "commit", "-qm", "results"),
    ):
        project.run(*command)


def cloned(project: Project, root: Path) -> Project:
    """A clone, which has what is in git."""
    clone = type(project)(root)
    project.run("git", "clone", "-q", ".", str(root))
    assert not (root / RESULTS / "training").exists()
    assert (root / RESULTS / "tables/table4.csv").is_file()
    return clone


def status(project: Project) -> str:
    """What DVC says of the tree; empty if nothing has changed."""
    found = project.run("dvc", "status").stdout
    return "" if "up to date" in found else found


@pytest.mark.parametrize("script", ["restore", "record"])
def test_without_a_remote_nothing_starts(fresh, script):
    fresh.run("git", "init", "-q")
    refused = fresh.run(f"workflow_scripts/{script}.sh", check=False)
    assert refused.returncode == 1
    assert "dvc remote add -d store" in refused.stderr
    assert not refused.stdout


def test_record_clone_restore_nothing_to_do(finished, tmp_path):
    record(finished, str(tmp_path / "store"))
    assert "up to date" in finished.run("dvc", "repro").stdout

    clone = cloned(finished, tmp_path / "clone")
    # Another experiment's file is none of its business, its own settings are.
    clone.edit("experiments/demo.yaml", "description: ", "description: Another. ")
    for old, new in (("steps: 6,", "steps: 7,"), ("test_episodes: 10", "test_episodes: 14")):
        with clone.edited("experiments/tiny.yaml", old, new):
            refused = clone.run("workflow_scripts/restore.sh", check=False)
            assert refused.returncode != 0
            assert "does not fit" in refused.stderr
    clone.run("workflow_scripts/restore.sh")
    assert "Nothing to be done" in clone.snakemake("all_tables", "all_figures")
    assert "up to date" in clone.run("dvc", "repro").stdout

    # A source that changed after the record: restoring must refuse, and not touch. Prose is none.
    path = clone.root / "umtfss/models/umtfss.py"
    path.write_text(path.read_text() + "\n# edited\n")
    clone.run("workflow_scripts/restore.sh")
    assert "up to date" in clone.run("dvc", "repro").stdout
    path.write_text(path.read_text() + "\nEDITED = 1\n")
    refused = clone.run("workflow_scripts/restore.sh", check=False)
    assert refused.returncode != 0
    assert "does not fit" in refused.stderr
    assert clone.planned("all_tables")["train_model"] == 12  # all but MaskSplit's


def test_a_damaged_file_is_named_or_made_anew_and_never_recorded(recorded):
    """Of what DVC keeps, the damaged file is named; of the tables and figures it is made anew."""
    centroids = recorded.root / RESULTS / "clustering/shapes/centroids.h5"
    kept, lock = centroids.read_bytes(), (recorded.root / "dvc.lock").read_bytes()
    DAMAGES["flipped"](centroids)
    for command in (("dvc", "repro"), ("workflow_scripts/record.sh",)):
        failed = recorded.run(*command, check=False)
        assert failed.returncode != 0
        assert "centroids.h5 is damaged or another file" in failed.stdout
        assert (recorded.root / "dvc.lock").read_bytes() == lock
    centroids.write_bytes(kept)

    names = ("headline.csv", "claims.md", "claims.json", "../metrics.json")
    files = [recorded.root / RESULTS / "tables" / name for name in names]
    files.append(recorded.root / RESULTS / "figures/clusters-shapes.png")
    before = [digest_file(path) for path in files]
    for path in files:
        DAMAGES["flipped"](path)
    noticed = status(recorded)
    assert all(name in noticed for name in ("tables", "metrics.json", "figures"))
    named = recorded.run("python", "-m", "umtfss", "verify", check=False).stdout
    assert "tables/claims.json" in named
    assert "metrics.json is damaged" in named
    recorded.run("dvc", "repro")
    assert [digest_file(path) for path in files] == before
    assert "up to date" in recorded.run("dvc", "repro").stdout
    assert (recorded.root / "dvc.lock").read_bytes() == lock


@pytest.mark.stress
@pytest.mark.parametrize("damage", ["flipped", "deleted"])
def test_every_arrow_names_or_heals_its_damaged_file(recorded, damage):
    """Deleted files are made anew: Snakemake sees that they are not there."""
    for name in (
        *("data/shapes/train.json", "features/lite0/shapes/train/shard0/manifest.json"),
        *("clustering/shapes/centroids.h5", "pseudo_masks/shapes/shapes-train-shard0.h5"),
        *("episodes/test/shapes/fold0-1shot-seed0.h5", EPISODES.removeprefix(f"{RESULTS}/")),
        "training/shapes/umtfss/unsup-all/seed0/weights.safetensors",
    ):
        path = recorded.root / RESULTS / name
        kept = path.read_bytes()
        DAMAGES[damage](path)
        done = recorded.run("dvc", "repro", check=False)
        named = done.returncode != 0 and name in done.stdout
        assert named or (damage == "deleted" and path.read_bytes() == kept), (name, done.stdout)
        path.write_bytes(kept)
        assert status(recorded) == ""


@pytest.mark.stress
def test_a_changed_key_is_noticed_down_to_the_tables(recorded):
    lock = (recorded.root / "dvc.lock").read_bytes()
    with recorded.edited("experiments/tiny.yaml", "test_episodes: 10", "test_episodes: 11"):
        assert "experiments" in status(recorded)
        assert "Running stage 'episodes'" in recorded.run("dvc", "repro", "episodes").stdout
        stale = {line[:-1] for line in status(recorded).splitlines() if not line.startswith("\t")}
        assert {"evaluation", "tables", "report"} <= stale
        assert not stale & {"data", "features", "clustering", "pseudo_masks"}
    recorded.run("dvc", "repro", "episodes")
    assert status(recorded) == ""
    assert (recorded.root / "dvc.lock").read_bytes() == lock


class S3Project(Project):
    """A project whose commands find DVC's S3 client, wherever it is installed, and credentials."""

    @property
    def environment(self) -> dict[str, str]:
        variables, spec = super().environment, find_spec("dvc_s3")
        assert spec is not None
        assert spec.origin is not None
        path = [variables["PYTHONPATH"], str(Path(spec.origin).parents[1])]
        keys = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}
        return {
            **variables,
            **keys,
            "PYTHONPATH": os.pathsep.join(path),
            "AWS_DEFAULT_REGION": "us-east-1",
        }


@pytest.fixture
def bucket(tmp_path) -> Iterator[str]:
    """The address of an S3 server on this machine, with a bucket `lab`."""
    lacking = [name for name in ("dvc_s3", "moto") if not find_spec(name)]
    if lacking:
        pytest.skip(f"not installed: {lacking}; pip install dvc-s3 'moto[server]'")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    with open(tmp_path / "server.log", "w") as log:
        command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
        server = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        for _ in range(120):
            try:
                urllib.request.urlopen(urllib.request.Request(f"{url}/lab", method="PUT"))
                break
            except urllib.error.URLError:
                time.sleep(0.5)
        else:
            pytest.fail((tmp_path / "server.log").read_text())
        yield url
    finally:
        server.terminate()
        server.wait()


@pytest.mark.stress
def test_a_round_trip_to_s3(made, bucket, tmp_path):
    project = S3Project(tmp_path / "umtfss")
    shutil.copytree(made.root, project.root, symlinks=True)
    project.run("git", "init", "-q")
    project.run("dvc", "remote", "add", "-d", "store", "s3://lab/caches")
    project.run("dvc", "remote", "modify", "store", "endpointurl", bucket)
    record(project)
    clone = cloned(project, tmp_path / "clone")
    clone.run("workflow_scripts/restore.sh")
    for name in ("training/shapes/umtfss/unsup-all/seed0/weights.safetensors", "tables/table1.csv"):
        expected = digest_file(project.root / RESULTS / name)
        assert digest_file(clone.root / RESULTS / name) == expected
    assert "Nothing to be done" in clone.snakemake("all_tables", "all_figures")
    assert "up to date" in clone.run("dvc", "repro").stdout


@pytest.fixture(scope="module")
def recorded(made, tmp_path_factory) -> Project:
    """A project whose results DVC has recorded; tests leave it as they find it."""
    folder = tmp_path_factory.mktemp("recorded")
    project = Project(folder / "umtfss")
    shutil.copytree(made.root, project.root, symlinks=True)
    record(project, str(folder / "store"))
    return project
