"""Killed and damaged runs: nothing is lost, and no table comes from what is damaged."""

import json
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from tests.damage import DAMAGES, swap
from tests.kills import kill_often
from umtfss.clustering.centroids import load_centroids
from umtfss.common.errors import StoreError
from umtfss.common.manifests import check_files, read_manifest, read_sealed
from umtfss.common.verify import PLAIN, verify
from umtfss.data.index import DatasetIndex
from umtfss.episodes.episode import EpisodeList
from umtfss.evaluation.results import load_result
from umtfss.features.store import FeatureStore
from umtfss.pseudo_masks.store import PseudoMaskStore

pytestmark = pytest.mark.slow

READERS = {
    "umtfss-index": DatasetIndex.load,
    "umtfss-scores": load_result,
    "umtfss-episodes": EpisodeList.load,
    "umtfss-centroids": load_centroids,
    "umtfss-pseudo-masks": lambda path: PseudoMaskStore([path]),
    "features": lambda path: FeatureStore([path]),
    "training": lambda path: check_files(path, read_manifest(path, "training")),
    "claims": lambda path: check_files(path, read_sealed(path, "claims", {"kind": "claims"})),
    "metrics": lambda path: check_files(path, read_manifest(path, "metrics")),
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
    found = finished.run(*command, "--arrow", "clustering", check=False)
    assert "0 damaged or unknown" in finished.run(*command, "--arrow", "training").stdout
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


@pytest.mark.parametrize("kills", [3, pytest.param(50, marks=pytest.mark.stress)])
@pytest.mark.timeout(10800)
def test_killed_runs_end_in_the_same_bytes(finished, tmp_path, kills):
    """Prints a line a kill (`pytest -s`)."""
    outcome = kill_often(finished, tmp_path / "umtfss", kills, seed=kills)
    assert len(outcome.kills) >= kills
    assert outcome.compared > 200
    assert (outcome.differing, outcome.left, outcome.problems) == ([], [], []), outcome.kills
