"""The training-free floor of the tested world on every feature that its experiments read.

The nearest of two prototypes is tested on the test episodes of the experiment `demo`: on each level
of its backbone that a model reads, and on the packaged ViT. Nothing is trained, so an interval
covers the draw of episodes alone.

python -m benchmarks.floors            # a minute of one core
python -m benchmarks.floors --quick    # tiny sizes: shows that everything runs
"""

import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from benchmarks.tables import write_rows
from benchmarks.world import DATASET, DEMO, RESULTS, VAL, VIT, Bench, World, demo_backbone
from umtfss.common.device import prepare_process
from umtfss.evaluation.intervals import Term, contrast_interval
from umtfss.experiment.load import load_experiment
from umtfss.experiment.schema import Experiment
from umtfss.models.build import build_model

TESTS = "test/shapes/fold{fold}/1shot/seed0"  # the name of the pipeline's draw for demo
COLUMNS = ("backbone", "level", "mean", "low", "high")
app = typer.Typer(add_completion=False)


def measured(experiment: Experiment, quick: bool, folder: Path) -> Iterator[tuple[str, ...]]:
    """The lines of the table: 1-shot mIoU over all folds in percent, with its 95 % interval."""
    shapes = experiment.datasets[DATASET].shapes
    assert shapes is not None
    shapes = shapes.model_copy(update={"train_images": 1})  # val images do not depend on them
    if quick:
        shapes = shapes.model_copy(update={"val_images": 160})
    floor = build_model("prototype", experiment.model, [])
    world = World(
        experiment, shapes, folder, split=VAL, key="floors", episodes=5 if quick else None
    )
    for seen in (demo_backbone(experiment), VIT):
        for level in dict.fromkeys((*seen.mid, seen.high)):
            scores = Bench(world, replace(seen, high=level), None).test(floor, TESTS)
            found = contrast_interval([Term(1, [list(scores.values())])])
            numbers = (f"{100 * one:.2f}" for one in (found.value, found.low, found.high))
            yield (seen.name, level, *numbers)


@app.command()
def main(
    quick: Annotated[bool, typer.Option(help="Tiny sizes.")] = False,
    results: Annotated[Path, typer.Option(help="Where the table goes.")] = RESULTS,
) -> None:
    """Measure all floors and write the table."""
    prepare_process(1)
    with tempfile.TemporaryDirectory() as folder:
        rows = measured(load_experiment(DEMO, 0), quick, Path(folder))
        write_rows(results / "floors.csv", COLUMNS, rows)


if __name__ == "__main__":
    app()
