"""Every kind of intermediate file: what is damaged, exchanged or another run's is refused, named.

No table can then come from it: these are the functions by which all jobs read.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch import nn

from tests.damage import DAMAGES, swap
from umtfss.clustering.centroids import load_centroids, save_centroids
from umtfss.common.errors import StoreError
from umtfss.common.manifests import read_manifest, write_manifest
from umtfss.data.index import DatasetIndex
from umtfss.episodes.episode import EpisodeList
from umtfss.evaluation.miou import EpisodeScores
from umtfss.evaluation.results import load_result, save_results
from umtfss.experiment.features import DiffusionConfig
from umtfss.experiment.pseudo_masks import PseudoMasksConfig
from umtfss.features.diffusion import DiffusionMap
from umtfss.features.store import (
    FeatureSpec,
    FeatureStore,
    ImageFeatures,
    finished_digests,
    write_feature_manifest,
    write_part,
)
from umtfss.pseudo_masks.store import KIND as MASKS
from umtfss.pseudo_masks.store import ImageRegions, PseudoMaskStore, ShardWriter
from umtfss.pseudo_masks.superpixels import SuperpixelStore, write_superpixels
from umtfss.training.checkpoint import load_weights, save_weights

SPEC = FeatureSpec("net", "w" * 8, {"mid": 8}, 64, "fp32", 8, 8, False)


def random(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).random(shape, np.float32)


def make_features(folder: Path, seed: int) -> None:
    folder.mkdir(parents=True)
    images = [ImageFeatures(f"d/{n}", (64, 64), {"mid": random(n + seed, 8, 8, 8)}) for n in "01"
              for n in [int(n)]]  # fmt: skip
    ids = [image.image_id for image in images]
    write_part(folder / "part000.h5", SPEC, "origin", ids, images)
    digests = finished_digests(folder / "part000.h5", SPEC, "origin", ids)
    assert digests is not None
    write_feature_manifest(folder, SPEC, dict(zip(ids, digests, strict=True)), 1)


def make_centroids(folder: Path, seed: int) -> None:
    save_centroids(folder / "a.h5", random(seed, 50, 8))


def make_map(folder: Path, seed: int) -> None:
    arrays = random(seed, 30, 8), np.zeros(30, np.int64), random(seed, 30, 4)
    settings = DiffusionConfig.model_construct()
    one = DiffusionMap(("d/0",), "mid", settings, *arrays, random(1, 8, 2), random(2, 3, 8))
    one.save(folder / "a.h5")


def make_masks(folder: Path, seed: int) -> None:
    nothing, pixels = np.empty(0, int), np.ones((2, 4), int)
    labels = np.random.default_rng(seed).integers(0, 4, (40, 40), np.uint8)
    facts: dict[str, Any] = {}
    with MASKS.create(folder / "a.h5", facts) as file:
        writer = ShardWriter(file, ["d/0"], 4, 8, "centres", {})
        writer.append(ImageRegions(labels, nothing, nothing, np.empty((0, 8), "f4"), pixels))
        facts["digest"] = writer.finish()


def make_superpixels(folder: Path, seed: int) -> None:
    image = np.random.default_rng(seed).integers(0, 256, (40, 40, 3), np.uint8)
    write_superpixels([("d/0", image)], PseudoMasksConfig(), folder / "a.h5")


def make_episodes(folder: Path, seed: int) -> None:
    rows = np.random.default_rng(seed).integers(0, 9, (300, 2))
    ids = [f"d/{number}" for number in range(9)]
    EpisodeList(ids, rows[:, 0], rows[:, 1], rows[:, :1], "key").save(folder / "a.h5", images=9)


def make_weights(folder: Path, seed: int) -> None:
    model = nn.Linear(30, 30)
    nn.init.constant_(model.weight, seed + 1)
    save_weights(folder / "weights.safetensors", model)
    files = [folder / "weights.safetensors"]
    write_manifest(folder / "manifest.json", "training", files=files, mid_scales={"mid": 0.35})


def make_index(folder: Path, seed: int) -> None:
    areas = {"d/0": {1: 100 + seed}, "d/1": {2: 700}}
    ids = tuple(areas)
    DatasetIndex("d", "val", ids, np.full((2, 2), 64), areas, "f", ids).save(folder / "a.json")


def make_evaluation(folder: Path, seed: int) -> None:
    counts = np.arange(8) + seed
    scores = EpisodeScores(np.ones(8, int), counts, counts + 50, counts + 90)
    save_results(folder / "a.json", {0: {0: scores}}, classes={0: [1]}, facts={"run": "one"})


@dataclass(frozen=True)
class Kind:
    """A kind of artifact: what makes it in a folder, and how jobs read it."""

    make: Callable[[Path, int], None]
    read: Callable[[Path], Any]
    files: tuple[str, ...] = ("a.json", "a.h5")


def read_episodes(folder: Path) -> Any:
    return EpisodeList.load(folder / "a.json")


def read_weights(folder: Path) -> Any:
    load_weights(nn.Linear(30, 30), folder)
    return read_manifest(folder / "manifest.json", "training")


KINDS = {
    "features": Kind(
        make_features,
        lambda folder: FeatureStore([folder / "manifest.json"]).read("d/1", "mid"),
        ("manifest.json", "part000.h5"),
    ),
    "centroids": Kind(make_centroids, lambda folder: load_centroids(folder / "a.json")),
    "diffusion map": Kind(make_map, lambda folder: DiffusionMap.load(folder / "a.json")),
    "pseudo-masks": Kind(
        make_masks, lambda folder: PseudoMaskStore([folder / "a.json"]).label_map("d/0")
    ),
    "superpixels": Kind(
        make_superpixels, lambda folder: SuperpixelStore([folder / "a.json"]).read("d/0")
    ),
    "episodes": Kind(make_episodes, read_episodes),
    "weights": Kind(make_weights, read_weights, ("manifest.json", "weights.safetensors")),
    "index": Kind(make_index, lambda folder: DatasetIndex.load(folder / "a.json"), ("a.json",)),
    "evaluation": Kind(make_evaluation, lambda folder: load_result(folder / "a.json"), ("a.json",)),
}
FILES = [(name, file) for name, kind in KINDS.items() for file in kind.files]


def made(kind: Kind, root: Path, run: str, seed: int = 0) -> Path:
    """The folder of an artifact below results/."""
    folder = root / "results/tiny" / run / "seed0"
    kind.make(folder, seed)
    return folder


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize(("name", "file"), FILES)
def test_a_damaged_file_is_named_with_what_makes_it_anew(tmp_path, name, file, damage):
    folder = made(KINDS[name], tmp_path, "one")
    KINDS[name].read(folder)
    DAMAGES[damage](folder / file)
    with pytest.raises(StoreError) as caught:
        KINDS[name].read(folder)
    assert str(folder / file) in caught.value.problem
    assert "run snakemake --cores all --config experiment=tiny -- results/" in caught.value.fix
    if (folder / file).exists():
        assert f"delete {folder / KINDS[name].files[0]}" in caught.value.fix


@pytest.mark.parametrize("name", KINDS)
def test_an_artifact_of_another_run_is_refused(tmp_path, name):
    """Whole folders are exchanged: all of their files agree with each other."""
    one, other = (made(KINDS[name], tmp_path, run, seed) for seed, run in enumerate(("one", "two")))
    swap(one.parent, other.parent)
    with pytest.raises(StoreError, match="is a file of another place") as caught:
        KINDS[name].read(one)
    assert caught.value.expected.startswith("results/tiny/one/seed0/")
    assert caught.value.found.startswith("results/tiny/two/seed0/")
    swap(one.parent, other.parent)
    KINDS[name].read(one)


@pytest.mark.parametrize(("name", "file"), [pair for pair in FILES if pair[1][-5:] != ".json"])
def test_a_file_of_another_run_is_refused(tmp_path, name, file):
    one, other = (made(KINDS[name], tmp_path, run, seed) for seed, run in enumerate(("one", "two")))
    swap(one / file, other / file)
    with pytest.raises(StoreError, match="is damaged or another file"):
        KINDS[name].read(one)
