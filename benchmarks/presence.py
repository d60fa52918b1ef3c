"""How well the score of `predict` tells whether an object is in a photo, and the best threshold.

Photos and masks come from PASCAL VOC's training images, which no table tests. An object is present
if its class covers the pixels that make a class count, absent if it covers none.

UMTFSS_DATA_ROOT=data python -m benchmarks.presence    # fifteen minutes of one core
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from sklearn.metrics import roc_auc_score
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
from umtfss.predict.segmenter import NO_MIN_SCORE, Segmentation, Segmenter

AREA = 2048  # px that a present object covers at least
SHOTS = (1, 5)
PHOTOS = 100
KEPT = 0.95  # part of the present objects that stays above the threshold
COLUMNS = ("backbone", "level", "shots", "present", "absent", "auc", "threshold", "refused", "miou")
app = typer.Typer(add_completion=False)


def drawn_photos(dataset: Dataset, count: int) -> tuple[list[str], dict[int, list[str]]]:
    """Photos to segment, and for every class the photos that show it to the segmenter."""
    every = dataset.ids("train")
    ids = [every[row] for row in generator("presence").permutation(len(every))]
    queries, rest = ids[:count], ids[count:]
    supports: dict[int, list[str]] = {c: [] for c in dataset.class_names}
    for image_id in rest:
        mask = dataset.mask(image_id)
        for c, found in supports.items():
            if len(found) < max(SHOTS) and (mask == c).sum() >= AREA:
                found.append(image_id)
    return queries, {c: found for c, found in supports.items() if len(found) == max(SHOTS)}


def fit(segmenter: Segmenter, dataset: Dataset, supports: dict[int, list[str]], shots: int) -> None:
    """Show every class to the segmenter."""
    shown = [(c, image_id) for c, ids in supports.items() for image_id in ids[:shots]]
    segmenter.fit(
        [dataset.image(image_id) for _, image_id in shown],
        [dataset.mask(image_id) == c for c, image_id in shown],
        [f"{c:03d}" for c, _ in shown],
    )


def measured(dataset: Dataset, count: int) -> Iterator[tuple[object, ...]]:
    """The lines of the table; `refused` is the part of absent objects below the threshold."""
    queries, supports = drawn_photos(dataset, count)
    masks = [dataset.mask(query) for query in queries]
    areas = np.array([np.bincount(one.ravel(), minlength=256)[list(supports)] for one in masks])
    present, absent = areas >= AREA, areas == 0
    plan = Plan(load_experiment("own_photos"))
    run = replace(matcher_run(plan.experiment), features=floor_features(plan.experiment))
    segmenter = Segmenter.of_run(plan, run)
    segmenter.min_score = NO_MIN_SCORE
    read = segmenter.recipe
    for shots in SHOTS:
        fit(segmenter, dataset, supports, shots)
        found = [segmenter.segment(dataset.image(query)) for query in tqdm(queries)]
        scores = np.array([one.scores for one in found])
        threshold = np.quantile(scores[present], 1 - KEPT)
        truth = np.r_[np.ones(present.sum()), np.zeros(absent.sum())]
        auc = roc_auc_score(truth, np.r_[scores[present], scores[absent]])
        refused, miou = (scores[absent] < threshold).mean(), mean_iou(found, masks, list(supports))
        row = (read.extracted.backbone, read.features.high, shots, present.sum(), absent.sum())
        yield (*row, *(f"{one:.3f}" for one in (auc, threshold, refused, miou)))


def mean_iou(found: list[Segmentation], masks: list[np.ndarray], classes: list[int]) -> float:
    """The mean over classes of the IoU over all photos, objects competing."""
    both, either = np.zeros(len(classes)), np.zeros(len(classes))
    for one, mask in zip(found, masks, strict=True):
        for row, c in enumerate(classes):
            predicted, true = one.labels == row + 1, mask == c
            both[row] += (predicted & true).sum()
            either[row] += ((predicted | true) & (mask != IGNORE)).sum()
    shown = [row for row, c in enumerate(classes) if any((mask == c).any() for mask in masks)]
    return float((both[shown] / either[shown]).mean())


@app.command()
def main(
    quick: Annotated[bool, typer.Option(help="Few photos.")] = False,
    results: Annotated[Path, typer.Option(help="Where the table goes.")] = RESULTS,
) -> None:
    """Measure the features of own_photos, and write the table."""
    prepare_process(1)
    dataset = open_dataset(DatasetSource("pascal", "voc2012", "voc2012"), raw_data_root())
    write_rows(results / "presence.csv", COLUMNS, measured(dataset, 10 if quick else PHOTOS))


if __name__ == "__main__":
    app()
