"""Time and peak memory of every arrow as the number of images grows, on tiny made-up images.

python -m benchmarks.growth    # half an hour of one core; writes results/arrows.csv
"""

import csv
import multiprocessing
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from PIL import Image

from benchmarks.measure import growth_exponent, peak_memory, start_peak
from benchmarks.world import DATASET, RESULTS, TRAIN, VAL, Bench, World, demo_backbone
from umtfss.clustering.object_kmeans import fit_object_centroids
from umtfss.clustering.pixel_kmeans import fit_centroids
from umtfss.data.disjoint import refuse_test_images
from umtfss.data.shapes import write_shapes
from umtfss.episodes.draw_unlabelled import draw_pseudo_episodes
from umtfss.experiment.datasets import ShapesConfig
from umtfss.experiment.features import DiffusionConfig
from umtfss.experiment.load import load_experiment
from umtfss.experiment.schema import Experiment
from umtfss.features.diffusion import build_diffusion_map
from umtfss.features.store import FeatureStore
from umtfss.pseudo_masks.objects import object_features
from umtfss.pseudo_masks.store import RegionTable

SIZES = (500, 5_000, 50_000)
SIDE = 64  # px of an image
CLUSTERS, REGIONS, CHANNELS, EPISODES = 10, 3, 120, 1_000  # an image has three made-up regions
Call = Callable[[], Any]


def experiment() -> Experiment:
    """`demo` on tiny images, its clusters few and its training short."""
    settings = load_experiment("demo").model_dump(mode="json", by_alias=True)
    settings["features"]["lite2"]["long_side"] = SIDE
    settings["pseudo_masks"]["min_area"] = SIDE
    settings["clustering"]["memory_vectors"] = 5_000
    settings["training"][DATASET] |= {"steps": 10, "batch_size": 2, "models": {}}
    return Experiment.model_validate(settings)


def world(folder: Path, images: int) -> World:
    """A world of made-up images, as many for training as for tests."""
    shapes = ShapesConfig(train_images=images, val_images=images, height=SIDE, width=SIDE)
    if not folder.exists():
        few = shapes.model_copy(update={"train_images": 1, "val_images": 1})
        write_shapes(folder / "images", few)
        for split in (TRAIN, VAL):
            make_up(folder / "images", split, images)
    return World(experiment(), shapes, folder, split=VAL, key="growth", episodes=50)


def make_up(root: Path, split: str, images: int) -> None:
    """Write images where drawn ones would lie: noise, and a square of a class, whose colour it has.

    Drawing takes 8 ms an image.
    """
    random = np.random.default_rng([split == TRAIN, images])
    for number in range(images):
        name, kind = f"{split}_{number:05d}.png", number % 20 + 1
        pixels = random.integers(0, 20, (SIDE, SIDE, 3), np.uint8)
        mask = np.zeros((SIDE, SIDE), np.uint8)
        y, x = random.integers(0, SIDE // 3, 2)
        mask[y : y + SIDE * 2 // 3, x : x + SIDE * 2 // 3] = kind
        pixels[mask > 0] += np.array([9 * kind, 190 - 9 * kind, 50 * (kind % 4)], np.uint8)
        for folder, array in (("images", pixels), ("masks", mask)):
            Image.fromarray(array).save(root / folder / name, compress_level=1)


def store(drawn: World) -> FeatureStore:
    """The features of the training images."""
    return FeatureStore([drawn.manifest(demo_backbone(drawn.experiment), TRAIN)])


def index(folder: Path, images: int) -> Call:
    """Verify and list both splits, and compare their pixels."""
    drawn = world(folder, images)
    return lambda: refuse_test_images(drawn.index(TRAIN), [drawn.index(VAL)])


def features(folder: Path, images: int) -> Call:
    """Extract the features of the training images."""
    drawn = world(folder, images)
    drawn.index(TRAIN)
    return lambda: store(drawn)


def pool_map(folder: Path, images: int) -> Call:
    """Map the pool of diffused features."""
    found, settings = store(world(folder, images)), DiffusionConfig()
    level = demo_backbone(experiment()).high
    return lambda: build_diffusion_map(found, found.ids, level, settings)


def pixel_clusters(folder: Path, images: int) -> Call:
    """Cluster all tokens."""
    found, settings = store(world(folder, images)), experiment().clustering
    level = demo_backbone(experiment()).high
    return lambda: fit_centroids(found, level, found.ids, CLUSTERS, settings, 0)


def object_clusters(folder: Path, images: int) -> Call:
    """Cut an object out of every image, and cluster the objects."""
    found, settings = store(world(folder, images)), experiment().clustering
    level = demo_backbone(experiment()).high

    def call() -> Any:
        objects = object_features(found, level, found.ids, 1)
        return fit_object_centroids(objects, 2, settings)  # few tiny images have an object

    return call


def pseudo_masks(folder: Path, images: int) -> Call:
    """Cluster all tokens, and write the masks of every image."""
    drawn = world(folder, images)
    backbone = demo_backbone(drawn.experiment)
    drawn.manifest(backbone, TRAIN)
    return lambda: drawn.masks(backbone, CLUSTERS)


def unlabelled_episodes(folder: Path, images: int) -> Call:
    """Draw 1,000 episodes from made-up regions."""
    random = np.random.default_rng(0)
    cluster = random.integers(0, 10 * CLUSTERS, images * REGIONS).astype(np.int32)
    image = np.repeat(np.arange(images, dtype=np.int32), REGIONS)

    def of_cluster(number: int) -> np.ndarray:
        """(R', C) unit vectors; a real table reads them from disk."""
        shape = (np.count_nonzero(cluster == number), CHANNELS)
        found = np.random.default_rng(number).standard_normal(shape, np.float32)
        return found / np.linalg.norm(found, axis=1, keepdims=True)

    regions = RegionTable(image, cluster, np.full(len(image), 900, np.int32), of_cluster)
    ids = [f"{DATASET}/{number:06d}" for number in range(images)]
    return lambda: draw_pseudo_episodes(ids, regions, shot=1, count=EPISODES, seed=0, key="growth")


def training(folder: Path, images: int) -> Call:
    """Ten steps of UMTFSS on tasks of clusters."""
    drawn = world(folder, images)
    bench, stage = Bench(drawn, demo_backbone(drawn.experiment), None), _stage(drawn)
    tasks = drawn.pseudo_tasks(drawn.masks(bench.backbone, CLUSTERS), stage, 0)
    items, model = bench.items(tasks, stage, 0), bench.untrained("umtfss", _model(drawn), 0)
    return lambda: bench.train(model, items, 0)


def evaluation(folder: Path, images: int) -> Call:
    """Draw and score 50 test episodes of one fold."""
    drawn = world(folder, images)
    bench = Bench(drawn, demo_backbone(drawn.experiment), None)
    model = bench.untrained("umtfss", _model(drawn), 0)
    drawn.manifest(bench.backbone, VAL)
    return lambda: bench.test(model, "growth/{fold}", [0])


def _stage(drawn: World) -> Any:
    return drawn.experiment.training[DATASET]


def _model(drawn: World) -> Any:
    return drawn.experiment.model


# Part of the pipeline -> what to measure, and the greatest number of images that takes minutes.
PARTS: dict[str, tuple[Callable[[Path, int], Call], int]] = {
    "data": (index, 50_000),
    "features": (features, 50_000),
    "features: map of the pool": (pool_map, 5_000),
    "clustering: pixels": (pixel_clusters, 50_000),
    "clustering: objects": (object_clusters, 50_000),
    "pseudo_masks": (pseudo_masks, 50_000),
    "episodes, 1,000": (unlabelled_episodes, 50_000),
    "training, 10 steps": (training, 50_000),
    "evaluation, 50 episodes": (evaluation, 50_000),
}


@dataclass(frozen=True)
class Row:
    """The cost of a part.

    Attributes:
        part: A key of `PARTS`.
        images: Number of images of the split that it works on.
        seconds: CPU-seconds.
        megabytes: Peak memory above the memory before the call, MB.
    """

    part: str
    images: int
    seconds: float
    megabytes: float


def once(part: str, folder: Path, images: int) -> Row:
    """Measure a part in this process, which has done nothing before."""
    torch.set_num_threads(1)
    call = PARTS[part][0](folder, images)
    before, start = start_peak(), time.process_time()
    call()
    seconds = time.process_time() - start
    return Row(part, images, seconds, peak_memory() - before)


def fresh(part: str, folder: Path, images: int) -> Row:
    """Measure a part in a new process."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(once, part, folder, images).result()


def exponent(rows: list[Row]) -> float:
    """The power of the number of images with which the time of a part grows."""
    return growth_exponent([row.images for row in rows], [row.seconds for row in rows])


def main(
    part: Annotated[list[str] | None, typer.Option(help="parts; default: all")] = None,
    size: Annotated[list[int] | None, typer.Option(help="numbers of images")] = None,
    out: Annotated[Path, typer.Option(help="the CSV; other rows in it stay")] = RESULTS
    / "arrows.csv",
    folder: Annotated[Path | None, typer.Option(help="of the images; default: a temporary")] = None,
) -> None:
    """Measure parts at some sizes and write the CSV."""
    rows = {(row.part, row.images): row for row in read_rows(out)} if out.exists() else {}
    with tempfile.TemporaryDirectory() as temporary:
        for name in part or PARTS:
            for images in size or SIZES:
                if images <= PARTS[name][1]:
                    row = fresh(name, (folder or Path(temporary)) / str(images), images)
                    rows[name, images] = row
                    print(row, flush=True)
                    write_rows(out, sorted(rows.values(), key=in_order))


def in_order(row: Row) -> tuple[int, int]:
    """The place of a row: as the data flows, then by size."""
    return [*PARTS].index(row.part), row.images


def read_rows(path: Path) -> list[Row]:
    """The rows of a CSV."""
    with open(path, newline="") as file:
        cells = list(csv.DictReader(file))
    return [
        Row(one["part"], int(one["images"]), float(one["seconds"]), float(one["megabytes"]))
        for one in cells
    ]


def write_rows(path: Path, rows: list[Row]) -> None:
    """Write the CSV; the exponent is the best fit over all sizes of a part."""
    with open(path, "w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["part", "images", "seconds", "megabytes", "exponent"])
        for row in rows:
            same = [one for one in rows if one.part == row.part]
            power = f"{exponent(same):.2f}" if len(same) > 1 else ""
            writer.writerow(
                [row.part, row.images, f"{row.seconds:.4g}", f"{row.megabytes:.4g}", power]
            )


if __name__ == "__main__":
    typer.run(main)
