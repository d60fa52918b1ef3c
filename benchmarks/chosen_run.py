"""Does training on one's own photos help, and does `predict --run best` notice?

The photos are the part of COCO, all of them, without their masks: `data/my_photos` is a copy of its
folder of images or a link to it. Each class is then found as in `benchmarks.own_photos`, with five
shots, by the trained run of `own_photos` and by its matcher. Nothing is chosen on these photos.

snakemake --cores all --config experiment=own_photos -- all_training
UMTFSS_DATA_ROOT=data OMP_NUM_THREADS=1 python -m benchmarks.chosen_run  # three minutes of a core
"""

from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from tqdm import tqdm

from benchmarks.own_photos import SHOTS, ShownClass, matcher, opened, pooled_iou, shown_classes
from benchmarks.tables import write_rows
from benchmarks.world import RESULTS
from umtfss.common.device import prepare_process
from umtfss.data.dataset import Dataset
from umtfss.plan.plan import Plan
from umtfss.plan.run import RunSpec
from umtfss.predict.choose import mean_iou
from umtfss.predict.segmenter import Segmenter

COLUMNS = (
    "class", "photos", "trained", "matcher", "chosen", "trained_left_out", "matcher_left_out",
)  # fmt: skip
app = typer.Typer(add_completion=False)


def measured(
    dataset: Dataset, plan: Plan, runs: dict[str, RunSpec], one: ShownClass
) -> tuple[object, ...]:
    """A line of the table: IoU of both runs, of the chosen one, and on supports left out."""
    shown = one.supports[: max(SHOTS)]
    images = [dataset.image(image_id) for image_id in shown]
    shapes = [dataset.mask(image_id) == one.number for image_id in shown]
    photos = [dataset.image(image_id) for image_id in one.queries]
    masks = [dataset.mask(image_id) for image_id in one.queries]
    iou, left_out = {}, {}
    for name, run in runs.items():
        segmenter = Segmenter.of_run(plan, run).fit(images, shapes)
        found = [segmenter.segment(photo).labels == 1 for photo in photos]
        iou[name] = pooled_iou(found, masks, one.number)
        left_out[name] = mean_iou(segmenter.leave_one_out())
    chosen = max(left_out, key=lambda name: left_out[name])  # as umtfss/predict/choose.py
    both = [*iou.values(), iou[chosen], *left_out.values()]
    return dataset.class_names[one.number], len(photos), *(f"{value:.3f}" for value in both)


@app.command()
def main(
    results: Annotated[Path, typer.Option(help="Where the table goes.")] = RESULTS,
) -> None:
    """Measure, and write the table; its last line is the mean over classes."""
    prepare_process(1)
    dataset, plan = opened()
    runs = {"trained": plan.runs.main_run, "matcher": matcher(plan)}
    rows = [measured(dataset, plan, runs, one) for one in tqdm(list(shown_classes(dataset)))]
    own = np.array([row[1:] for row in rows], float)
    rows.append(("mean", int(own[:, 0].sum()), *(f"{value:.3f}" for value in own[:, 1:].mean(0))))
    write_rows(results / "chosen_run.csv", COLUMNS, rows)


if __name__ == "__main__":
    app()
