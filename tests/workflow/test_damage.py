"""Killed and damaged runs: nothing is lost, and no table comes from what is damaged."""

import json
import os
import random
import signal
import subprocess
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import psutil
import pytest

from tests.damage import DAMAGES, swap
from tests.workflow.conftest import Project, copy_project
from umtfss.clustering.centroids import load_centroids
from umtfss.common.digests import digest_file
from umtfss.common.errors import StoreError
from umtfss.common.manifests import check_files, read_manifest
from umtfss.common.verify import PLAIN, verify
from umtfss.data.index import DatasetIndex
from umtfss.episodes.episode import EpisodeList
from umtfss.evaluation.results import load_result
from umtfss.features.store import FeatureStore
from umtfss.pseudo_masks.store import PseudoMaskStore

pytestmark = pytest.mark.slow

COMPARED = (
    *("tables/*", "claims.*", "evaluation/**/*.json", "features/**/manifest.json"),
    *("clustering/**/*.h5", "pseudo_masks/**/*.json", "episodes/**/*.h5"),
    *("training/**/weights.safetensors", "training/**/log.csv", "training/**/manifest.json"),
)
LEFT_BEHIND = ("**/.*.partial*", "**/.lock*", "**/checkpoint.pt*")
READERS = {
    "umtfss-index": DatasetIndex.load,
    "umtfss-scores": load_result,
    "umtfss-episodes": EpisodeList.load,
    "umtfss-centroids": load_centroids,
    "umtfss-pseudo-masks": lambda path: PseudoMaskStore([path]),
    "features": lambda path: FeatureStore([path]),
    "training": lambda path: check_files(path, read_manifest(path, "training")),
    "shapes": lambda path: read_manifest(path, "shapes"),
    "umtfss-features": lambda path: check_files(path, read_manifest(path, "umtfss-features")),
}


def artifacts(results: Path) -> Iterator[tuple[Path, str]]:
    """Every manifest and sealed result with its kind."""
    for path in sorted(results.rglob("*.json")):
        if not any(path.match(pattern) for pattern in PLAIN):
            content = json.loads(path.read_text())
            yield path, content.get("kind") or content["format"]


def unnoticed(results: Path, damage: str) -> tuple[int, list[str]]:
    """Number of damaged files, and those that a reader or `verify` takes for good."""
    count, missed = 0, []
    for manifest, kind in artifacts(results):
        content = json.loads(manifest.read_text())
        for path in (manifest, *(manifest.with_name(name) for name in content.get("files", ()))):
            kept = path.read_bytes()
            DAMAGES[damage](path)
            count += 1
            try:
                READERS[kind](manifest)
                missed.append(f"read: {path}")
            except StoreError as error:
                if path.name not in str(error):
                    missed.append(f"not named: {path}")
            path.write_bytes(kept)
    return count, missed


def test_a_damaged_file_ends_the_job_and_the_advice_heals_it(finished):
    centroids = "results/tiny/clustering/shapes/centroids.h5"
    manifest = centroids.replace(".h5", ".json")
    masks = "results/tiny/pseudo_masks/shapes/shapes-train-shard0.json"
    before = {name: (finished.root / name).read_bytes() for name in (centroids, masks)}
    DAMAGES["flipped"](finished.root / centroids)
    (finished.root / masks).unlink()
    failed = finished.snakemake("--", masks, check=False)
    assert f"{centroids} is damaged or another file" in failed
    advice = f"snakemake --cores all --config experiment=tiny -- {manifest}"
    assert f"delete {manifest} and run {advice}" in failed
    assert not (finished.root / masks).exists()
    (finished.root / manifest).unlink()
    finished.snakemake("--config", "experiment=tiny", "--", manifest)
    finished.snakemake("--", masks)
    assert before == {name: (finished.root / name).read_bytes() for name in before}


def test_verify_names_what_is_damaged(finished):
    command = ("python", "-m", "umtfss", "verify")
    assert "0 damaged or unknown" in finished.run(*command).stdout
    centroids = finished.root / "results/tiny/clustering/shapes/centroids.h5"
    kept = centroids.read_bytes()
    DAMAGES["truncated"](centroids)
    found = finished.run(*command, check=False)
    centroids.write_bytes(kept)
    assert found.returncode == 1
    assert "centroids.h5 is damaged or another file" in found.stdout


def exchanged(results: Path) -> tuple[int, list[str]]:
    """Number of exchanged neighbours of a kind, and those that a reader takes for good."""
    kinds: dict[str, list[Path]] = {}
    for manifest, kind in artifacts(results):
        kinds.setdefault(kind, []).append(manifest)
    count, missed = 0, []
    for kind, manifests in kinds.items():
        for one, other in pairwise(manifests):
            names = [json.loads(path.read_text()).get("files", {}) for path in (one, other)]
            files = [(one.with_name(a), other.with_name(b)) for a, b in zip(*names, strict=False)]
            for pair in ([(one, other)], files, [(one, other), *files]):
                if not pair or all(a.read_bytes() == b.read_bytes() for a, b in pair):
                    continue
                count += 1
                for a, b in pair:
                    swap(a, b)
                try:
                    READERS[kind](one)
                    missed.append(f"{[str(a) for a, _ in pair]}")
                except StoreError:
                    pass
                for a, b in pair:
                    swap(a, b)
    return count, missed


@pytest.mark.stress
def test_every_exchanged_file_is_noticed(finished):
    count, missed = exchanged(finished.root / "results/tiny")
    assert count > 60
    assert missed == []


@pytest.mark.stress
@pytest.mark.parametrize("damage", DAMAGES)
def test_every_damaged_file_is_noticed(finished, damage):
    results = finished.root / "results/tiny"
    count, missed = unnoticed(results, damage)
    assert count > 120
    assert missed == []
    assert verify(results).problems == ()


def jobs(project: Project) -> list[psutil.Process]:
    """The scripts that run in a project."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.cwd() == str(project.root) and any(
                ".snakemake/scripts" in part for part in process.cmdline()
            ):
                found.append(process)
        except psutil.Error:
            continue
    return found


def kill_once(project: Project, targets: tuple[str, ...], draw: random.Random) -> str:
    """Start Snakemake, kill it or its jobs at a random moment, and unlock; what was done."""
    process = subprocess.Popen(
        ["snakemake", "--cores", "2", "--", *targets],
        cwd=project.root,
        env=project.environment,
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    number = draw.choice([signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
    whom = draw.choice(["job", "snakemake", "group"])
    deadline = time.monotonic() + 120
    while not jobs(project) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(draw.uniform(0, 4))
    running = jobs(project)
    if whom == "job" and running:
        draw.choice(running).send_signal(number)
    elif process.poll() is None:
        (os.killpg if whom == "group" else os.kill)(process.pid, number)
    try:
        process.wait(120)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    project.snakemake("--unlock", check=False)
    return f"{number.name} to {whom}"


@pytest.mark.stress
@pytest.mark.parametrize("kills", [3, 50])
@pytest.mark.timeout(7200)
def test_killed_runs_end_in_the_same_bytes(finished, tmp_path, kills):
    project, draw = copy_project(tmp_path / "umtfss"), random.Random(kills)
    targets = ("all_tables",) if kills > 3 else ("results/tiny/tables/headline.md",)
    done = [kill_once(project, targets, draw) for _ in range(kills)]
    for process in jobs(project):  # of a killed Snakemake, which still go on
        process.wait(120)
    project.snakemake("--", *targets)
    results, expected = project.root / "results/tiny", finished.root / "results/tiny"
    files = sorted({path for pattern in COMPARED for path in results.glob(pattern)})
    assert len(files) > 20
    differing = [
        path.relative_to(results).as_posix()
        for path in files
        if path.is_file() and digest_file(path) != digest_file(expected / path.relative_to(results))
    ]
    assert differing == [], done
    left = [str(path) for pattern in LEFT_BEHIND for path in results.glob(pattern)]
    assert left == [], done
    assert verify(results).problems == ()
