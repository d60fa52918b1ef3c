"""What decides no result: the same experiment under other circumstances, to the byte.

python -m tests.determinism    # half an hour of one core; writes tests/determinism.md
"""

import argparse
import csv
import json
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file

from tests.workflow.conftest import ROOT, copy_project
from umtfss.clustering.centroids import load_centroids
from umtfss.common.digests import digest_file, digest_json
from umtfss.features.store import FeatureStore, digest_features
from umtfss.plan.paths import FOLDERS
from umtfss.pseudo_masks.store import PseudoMaskStore

PAGE = ROOT / "tests/determinism.md"
RESULTS = "results/tiny"
HEADLINE = ("--config", "tables=headline", "--", "all_tables")
# One file a pool: of pixels, of objects.
SHORT = (
    f"{RESULTS}/clustering/shapes/centroids.json",
    f"{RESULTS}/training/objects/umtfss/unsup-all/seed0/weights.safetensors",
)
SAME_BYTES = (
    *("data/**/*", "clustering/**/*", "episodes/**/*", "tables/*"),
    *("training/**/weights.safetensors", "training/**/log.csv"),
)
TURKISH = "tr_TR.UTF-8"  # the capital of i is not I, and 1,5 is a number
ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}  # of files that are opened
COMPUTING = ("extract_features", "cluster_pixels", "cluster_objects", "train_model", "evaluate_run")
# About ten times what was measured; of mIoU, one point.
TOLERANCE = {"features": 1e-2, "centres": 2e-4, "weights": 2e-4, "points": 1.0}
FOUR_THREADS = ("--set-threads", *(f"{rule}=4" for rule in COMPUTING))
HEAD = """# What decides no result

`python -m tests.determinism` writes this page. It makes the headline of the experiment `tiny` on
two cores and two shards (the usual run), then once more under the circumstances of each row.
Features and pseudo-masks are compared image by image; lists, centres, episodes, weights, training
logs, evaluations and tables file by file, without the digests of shards that evaluations note. In
the first row every byte of every arrow is compared.

| circumstances | compared | differ |
|---|---|---|
"""
THREADS = """
With four threads instead of one or two in every job that computes, features differ by at most
{features:.1g} of an image's largest value, centres by {centres:.1g}, weights by {weights:.1g}, the
headline by {points:.1g} points of mIoU. A test allows about ten times as much, and one point.
"""


@dataclass(frozen=True)
class Variant:
    """Circumstances of a run.

    Attributes:
        title: What differs from the usual run: two cores, two shards, no loader process.
        cores: Cores that Snakemake shares.
        edits: Old and new texts of the experiment file.
        variables: Environment variables.
        folder: Folder of the project.
    """

    title: str
    cores: int
    edits: tuple[tuple[str, str], ...] = ()
    variables: dict[str, str] = field(default_factory=dict)
    folder: str = "umtfss"


VARIANTS = (
    Variant(
        "1 core; locale tr_TR.UTF-8; PYTHONHASHSEED=1",
        cores=1,
        variables={"LC_ALL": TURKISH, "PYTHONHASHSEED": "1"},
    ),
    Variant(
        "4 cores; 3 shards; 2 loader processes; locale C; PYTHONHASHSEED=2; another folder",
        cores=4,
        edits=(
            ("extraction: {shards: 2}", "extraction: {shards: 3}"),
            ("  shapes: {steps", "  shapes: {workers: 2, steps"),
            ("  objects: {steps", "  objects: {workers: 2, steps"),
        ),
        variables={**ASCII, "PYTHONHASHSEED": "2"},
        folder="another/place",
    ),
    Variant(
        "1 shard; 2 loader processes",
        cores=2,
        edits=(
            ("extraction: {shards: 2}", "extraction: {shards: 1}"),
            ("  shapes: {steps", "  shapes: {workers: 2, steps"),
            ("  objects: {steps", "  objects: {workers: 2, steps"),
        ),
    ),
)
MANY_THREADS = Variant("four threads", cores=4)


def results(variant: Variant, root: Path, *arguments: str) -> Path:
    """Run Snakemake under the circumstances of a variant, in a folder; where the results lie.

    Raises:
        FileNotFoundError: There is no `localedef` (Debian's package locales).
    """
    project = copy_project(root / variant.folder)
    for old, new in variant.edits:
        project.edit("experiments/tiny.yaml", old, new)
    variables = {**project.environment, **variant.variables}
    if variables.get("LC_ALL") == TURKISH:  # programs find it in a folder of its own
        locales = root / "locales"
        locales.mkdir()
        command = ["localedef", "-i", "tr_TR", "-f", "UTF-8", str(locales / TURKISH)]
        subprocess.run(command, check=True)
        variables["LOCPATH"] = str(locales)
    command = ["snakemake", "--cores", str(variant.cores), *arguments]
    with open(root / "log", "w+") as log:
        done = subprocess.run(command, cwd=project.root, env=variables, stdout=log, stderr=log)
        log.seek(0)
        assert done.returncode == 0, log.read()[-6000:]
    return project.root / RESULTS


def contents(folder: Path, every_byte: bool) -> dict[str, str]:
    """Name of a file, or of an image's data -> digest.

    Args:
        folder: Results of an experiment.
        every_byte: Whether the bytes of all files of all arrows count; otherwise features and
            pseudo-masks count image by image, and of evaluations the digests of shards do not.
    """
    patterns = [f"{arrow}/**/*" for arrow in FOLDERS] if every_byte else SAME_BYTES
    files = sorted({file for pattern in patterns for file in folder.glob(pattern)})
    found = {_name(file, folder): digest_file(file) for file in files if file.is_file()}
    if not every_byte:
        found |= {name: digest_json(value) for name, value in _evaluations(folder)}
        found |= dict(_features(folder))
        found |= dict(_pseudo_masks(folder))
    return found


def _name(path: Path, folder: Path) -> str:
    return path.relative_to(folder).as_posix()


def _evaluations(folder: Path) -> Iterator[tuple[str, Any]]:
    for path in folder.glob("evaluation/**/*.json"):
        value = json.loads(path.read_text())
        facts = {key: fact for key, fact in value["facts"].items() if key != "features"}
        yield _name(path, folder), {"facts": facts, "folds": value["folds"]}


def _features(folder: Path) -> Iterator[tuple[str, str]]:
    for split in folder.glob("features/*/*/*"):
        store = FeatureStore(sorted(split.glob("shard*/manifest.json")))
        for image in store.ids:
            levels = {level: store.read(image, level) for level in store.geometry.channels}
            yield f"{_name(split, folder)}: {image}", digest_features(levels)


def _pseudo_masks(folder: Path) -> Iterator[tuple[str, str]]:
    for pool in folder.glob("pseudo_masks/*/"):
        store = PseudoMaskStore(sorted(pool.glob("*.json")))
        regions = store.regions
        for row, image in enumerate(store.ids):
            own = regions.image == row
            arrays = store.label_map(image), regions.cluster[own], regions.area[own]
            value = [*(array.tolist() for array in arrays), regions.feature[own].tolist()]
            yield f"{_name(pool, folder)}: {image}", digest_json(value)


def differing(usual: Path, other: Path, every_byte: bool) -> tuple[int, list[str]]:
    """Number of compared files and images of another run, and those that differ from the usual."""
    one, two = contents(usual, every_byte), contents(other, every_byte)
    return len(two), [name for name, digest in two.items() if one.get(name) != digest]


def distances(usual: Path, other: Path) -> dict[str, float]:
    """What is compared -> the largest difference of two runs with other numbers of threads."""
    found = dict.fromkeys(("features", "centres", "weights", "points"), 0.0)

    def note(kind: str, one: np.ndarray, two: np.ndarray) -> None:
        found[kind] = max(found[kind], float(np.abs(one.astype("f8") - two).max()))

    for split in other.glob("features/*/*/*"):
        shards = sorted(_name(path, other) for path in split.glob("shard*/manifest.json"))
        stores = [FeatureStore([root / name for name in shards]) for root in (usual, other)]
        for image in stores[0].ids:
            for level in stores[0].geometry.channels:
                one, two = (store.read(image, level) for store in stores)
                note("features", one / (scale := np.abs(one).max()), two / scale)
    for path in other.glob("clustering/*/centroids.h5"):
        note("centres", *(load_centroids(root / _name(path, other)) for root in (usual, other)))
    for path in other.glob("training/**/weights.safetensors"):
        weights = [load_file(root / _name(path, other)) for root in (usual, other)]
        for key, value in weights[0].items():
            note("weights", value, weights[1][key])
    texts = [(root / "tables/headline.csv").read_text() for root in (usual, other)]
    tables = [
        [float(row["value"]) for row in csv.DictReader(text.splitlines()) if row["value"]]
        for text in texts
    ]
    note("points", *map(np.array, tables))
    return found


def main() -> None:
    """Run under all circumstances and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--folder", type=Path, help="where the runs lie; default: a temporary folder"
    )
    with tempfile.TemporaryDirectory() as temporary:
        folder = parser.parse_args().folder or Path(temporary)
        usual = results(Variant("usual", cores=2), folder / "usual", *HEADLINE)
        rows = []
        for number, variant in enumerate(VARIANTS):
            other = results(variant, folder / str(number), *HEADLINE)
            count, others = differing(usual, other, every_byte=not variant.edits)
            rows.append(f"| {variant.title} | {count} | {', '.join(others) or 'none'} |\n")
            print(rows[-1], end="", flush=True)
        many = results(MANY_THREADS, folder / "threads", *FOUR_THREADS, *HEADLINE)
        PAGE.write_text("".join([HEAD, *rows, THREADS.format(**distances(usual, many))]))


if __name__ == "__main__":
    main()
