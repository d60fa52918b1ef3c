"""IoU and seconds of `Segmenter` and `predict` by class, on photos of the part of COCO.

Each class alone is found as a user would find it: masks of 1 and 5 photos of the split train show
it, and photos of val with enough of it are searched, by the training-free matcher and the defaults
of `own_photos`. Nothing is chosen on these photos. Seconds are of the CPU, at a photo's first
search and at a search with features kept (`umtfss serve`).

UMTFSS_DATA_ROOT=data OMP_NUM_THREADS=1 python -m benchmarks.own_photos   # five minutes of one core
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from time import process_time
from typing import Annotated, NamedTuple

import numpy as np
import typer
from PIL import Image
from tqdm import tqdm

from benchmarks.tables import write_rows
from benchmarks.world import RESULTS
from umtfss.common.device import prepare_process
from umtfss.common.randomness import generator
from umtfss.data.dataset import Dataset
from umtfss.data.images import IGNORE
from umtfss.data.open import open_dataset
from umtfss.data.source import DatasetSource, raw_data_root
from umtfss.experiment.load import load_experiment
from umtfss.plan.cells import floor_features, matcher_run
from umtfss.plan.plan import Plan
from umtfss.plan.run import RunSpec
from umtfss.predict.outputs import Outputs, Query
from umtfss.predict.segment_photos import segment_photos
from umtfss.predict.segmenter import Segmenter

AREA = 0.05  # part of a photo that a class covers at least
SHOTS = (1, 5)
LEAST, MOST = 3, 12  # photos of val to find a class in
COLUMNS = ("class", "shots", "photos", "iou", "predict_iou", "first_s", "kept_s", "predict_s")
app = typer.Typer(add_completion=False)


class ShownClass(NamedTuple):
    """A class that is looked for.

    Attributes:
        number: Its id.
        supports: Photos of train that show it.
        queries: Photos of val to find it in.
    """

    number: int
    supports: list[str]
    queries: list[str]


def opened() -> tuple[Dataset, Plan]:
    """The part of COCO, and the plan of `own_photos`."""
    source = DatasetSource("coco", "coco", "coco_subset")
    return open_dataset(source, raw_data_root()), Plan(load_experiment("own_photos"))


def matcher(plan: Plan) -> RunSpec:
    """What `--run prototype` uses."""
    return replace(matcher_run(plan.experiment), features=floor_features(plan.experiment))


def shown_classes(dataset: Dataset) -> Iterator[ShownClass]:
    """The classes with enough photos in both splits."""
    photos: dict[str, dict[int, list[str]]] = {}
    for split in ("train", "val"):
        ids = dataset.ids(split)
        found = photos[split] = {c: [] for c in dataset.class_names}
        for row in generator("own photos", split).permutation(len(ids)):
            area = np.bincount(dataset.mask(ids[row]).ravel(), minlength=256)
            for c in found:
                if area[c] >= AREA * area.sum():
                    found[c].append(ids[row])
    for c in dataset.class_names:
        supports, queries = photos["train"][c], photos["val"][c]
        if len(supports) >= max(SHOTS) and len(queries) >= LEAST:
            yield ShownClass(c, supports[: max(SHOTS)], queries[:MOST])


def pooled_iou(found: Sequence[np.ndarray], masks: Sequence[np.ndarray], c: int) -> float:
    """The IoU of a class over all pixels of all photos that are not ignored."""
    both = sum(int((one & (m == c)).sum()) for one, m in zip(found, masks, strict=True))
    either = sum(
        int(((one | (m == c)) & (m != IGNORE)).sum()) for one, m in zip(found, masks, strict=True)
    )
    return both / either


def timed(work: Callable[[], list[np.ndarray]]) -> tuple[list[np.ndarray], float]:
    """The result of a call, and its CPU-seconds."""
    start = process_time()
    return work(), process_time() - start


def measured(
    dataset: Dataset, segmenter: Segmenter, one: ShownClass, shots: int
) -> tuple[object, ...]:
    """A line of the table."""
    images = [dataset.image(image_id) for image_id in one.supports[:shots]]
    shown = [dataset.mask(image_id) == one.number for image_id in one.supports[:shots]]
    photos = [dataset.image(image_id) for image_id in one.queries]
    masks = [dataset.mask(image_id) for image_id in one.queries]

    def search() -> list[np.ndarray]:
        return [segmenter.segment(photo).labels == 1 for photo in photos]

    with TemporaryDirectory() as folder:
        segmenter.features_folder = Path(folder) / "features"
        segmenter.fit(images, shown)
        first, first_seconds = timed(search)
        kept, kept_seconds = timed(search)
        segmenter.features_folder = None
        segmenter.fit(images, shown)
        queries = []
        for number, photo in enumerate(photos):
            queries.append(Query(Path(folder) / f"{number}.png", str(number)))
            Image.fromarray(photo).save(queries[-1].path)
        outputs = Outputs(Path(folder) / "out", segmenter.classes_)

        def predict() -> list[np.ndarray]:
            segment_photos(segmenter, queries, outputs, lambda _: None)
            return [np.array(Image.open(outputs.mask(query))) > 0 for query in queries]

        predicted, predict_seconds = timed(predict)
    assert all(np.array_equal(a, b) for a, b in zip(first, kept, strict=True))
    iou, predict_iou = (pooled_iou(found, masks, one.number) for found in (first, predicted))
    seconds = (each / len(photos) for each in (first_seconds, kept_seconds, predict_seconds))
    name = dataset.class_names[one.number]
    return (name, shots, len(photos), *(f"{value:.3f}" for value in (iou, predict_iou, *seconds)))


@app.command()
def main(
    quick: Annotated[bool, typer.Option(help="One class.")] = False,
    results: Annotated[Path, typer.Option(help="Where the table goes.")] = RESULTS,
) -> None:
    """Measure, and write the table; its last lines are means over classes."""
    prepare_process(1)
    dataset, plan = opened()
    segmenter = Segmenter.of_run(plan, matcher(plan))
    classes = list(shown_classes(dataset))[: 1 if quick else None]
    rows = [measured(dataset, segmenter, one, shots) for one in tqdm(classes) for shots in SHOTS]
    for shots in SHOTS:
        own = np.array([row[2:] for row in rows if row[1] == shots], float)
        means = [f"{value:.3f}" for value in own[:, 1:].mean(0)]
        rows.append(("mean", shots, int(own[:, 0].sum()), *means))
    write_rows(results / "own_photos.csv", COLUMNS, rows)


if __name__ == "__main__":
    app()
