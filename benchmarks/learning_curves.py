"""IoU over the length of a training without labels: the effect of feature scale and clusters.

All numbers are measured on the split dev of worlds with other drawing seeds than the tested world,
so settings of the experiment `demo` can be chosen here. A point is one training of that length by
the package's own loop, tested on all four folds.

python -m benchmarks.learning_curves            # a quarter of an hour on one core
python -m benchmarks.learning_curves --quick    # tiny sizes: shows that everything runs
"""

import csv
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from matplotlib.figure import Figure

from benchmarks.world import (
    DATASET,
    DEMO,
    DEV,
    RESULTS,
    VIT,
    Bench,
    World,
    demo_backbone,
    seen_features,
)
from umtfss.common.device import prepare_process
from umtfss.common.files import atomic_path
from umtfss.evaluation.miou import summarise
from umtfss.experiment.block import FOLDS
from umtfss.experiment.load import load_experiment
from umtfss.experiment.model import ModelConfig
from umtfss.experiment.schema import Experiment
from umtfss.experiment.training import TrainingConfig
from umtfss.models.base import MetaLearner
from umtfss.models.build import build_model

KEY, TESTS = "learning-curves", "learning-curves/fold{fold}"
COLUMNS = ("drawing_seed", "backbone", "clusters", "mid_std", "steps", *map("fold{}".format, FOLDS))
FLOOR = "floor"
PAPER_CLUSTERS = 30  # the paper's number on PASCAL, which also has 20 classes
app = typer.Typer(add_completion=False)


@dataclass(frozen=True)
class Sizes:
    """The sizes of the study."""

    drawing_seeds: tuple[int, ...] = (1,)
    steps: tuple[int, ...] = (50, 150, 300)
    dev_images: int = 200
    train_images: int | None = None
    episodes: int | None = None


QUICK = Sizes(drawing_seeds=(1,), steps=(4,), dev_images=160, train_images=60, episodes=5)


def open_world(experiment: Experiment, seed: int, sizes: Sizes, folder: Path) -> World:
    """A drawn world of another seed than the tested world."""
    shapes = experiment.datasets[DATASET].shapes
    assert shapes is not None
    count = sizes.train_images or shapes.train_images
    drawn = {"seed": seed, "train_images": count, "dev_images": sizes.dev_images}
    return World(
        experiment,
        shapes.model_copy(update=drawn),
        folder,
        split=DEV,
        key=KEY,
        episodes=sizes.episodes,
    )


def learned(bench: Bench, clusters: int, stage: TrainingConfig) -> list[float]:
    """The mIoU of every fold after a training without labels, percent."""
    world = bench.world
    tasks = world.pseudo_tasks(world.masks(bench.backbone, clusters), stage, 0)
    model = bench.untrained("umtfss", world.experiment.model, 0)
    bench.train(model, bench.items(tasks, stage, 0), 0)
    return tested(bench, model)


def tested(bench: Bench, model: MetaLearner) -> list[float]:
    """The mIoU of every fold of the development split, percent."""
    return [100 * summarise(scores).miou for scores in bench.test(model, TESTS).values()]


def measured(experiment: Experiment, sizes: Sizes, folder: Path) -> Iterator[dict[str, object]]:
    """Every row of the CSV; the row of 0 steps is the training-free floor."""
    stage, chosen = experiment.training[DATASET], experiment.pools[DATASET].clusters
    own, std = demo_backbone(experiment), seen_features(experiment).mid_std
    assert chosen is not None
    variants = ((chosen, std), (chosen, None), (PAPER_CLUSTERS, std))
    floor = build_model("prototype", ModelConfig(), [])
    for seed in sizes.drawing_seeds:
        world = open_world(experiment, seed, sizes, folder / str(seed))
        for backbone in (own, VIT):
            head = {"drawing_seed": seed, "backbone": backbone.name}
            found = tested(Bench(world, backbone, None), floor)
            yield {**head, "clusters": "", "mid_std": "", "steps": 0, **_folds(found)}
            for clusters, std in variants:
                bench = Bench(world, backbone, std)
                for steps in sizes.steps:
                    found = learned(bench, clusters, stage.model_copy(update={"steps": steps}))
                    variant = {"clusters": clusters, "mid_std": std or "none", "steps": steps}
                    yield {**head, **variant, **_folds(found)}


def _folds(found: Sequence[float]) -> dict[str, object]:
    return {f"fold{fold}": f"{iou:.2f}" for fold, iou in zip(FOLDS, found, strict=True)}


def read_curves(table: Path) -> dict[str, dict[str, dict[int, float]]]:
    """Backbone -> variant -> steps -> mean over folds and drawing seeds, percent."""
    found: dict[str, dict[str, dict[int, list[float]]]] = {}
    with open(table, newline="") as stream:
        for row in csv.DictReader(stream):
            scale = "as they come" if row["mid_std"] == "none" else f"at {row['mid_std']}"
            trained = f"{row['clusters']} clusters, features {scale}"
            curves = found.setdefault(row["backbone"], {})
            curve = curves.setdefault(trained if row["clusters"] else FLOOR, {})
            ious = [float(row[f"fold{fold}"]) for fold in FOLDS]
            curve.setdefault(int(row["steps"]), []).extend(ious)
    return {
        backbone: {
            name: {steps: float(np.mean(curve[steps])) for steps in sorted(curve)}
            for name, curve in curves.items()
        }
        for backbone, curves in found.items()
    }


def draw_curves(table: Path, picture: Path) -> None:
    """Draw the curves, a panel for each backbone."""
    found = read_curves(table)
    figure = Figure(figsize=(4.2 * len(found), 3.4), layout="constrained")
    panels = figure.subplots(1, len(found), sharey=True, squeeze=False)[0]
    for axes, (backbone, curves) in zip(panels, found.items(), strict=True):
        for name, curve in curves.items():
            if name == FLOOR:
                axes.axhline(curve[0], color="black", linestyle=":", label=name)
            else:
                axes.plot(list(curve), list(curve.values()), marker="o", label=name)
        axes.set(title=backbone, xlabel="training steps", ylabel="mIoU on dev, %")
        axes.grid(alpha=0.3)
        axes.legend(fontsize=7)
    with atomic_path(picture) as temporary:
        figure.savefig(temporary, dpi=120, metadata={"Software": None})


@app.command()
def main(
    quick: Annotated[bool, typer.Option(help="Tiny sizes.")] = False,
    results: Annotated[Path, typer.Option(help="Where CSV and picture go.")] = RESULTS,
    folder: Annotated[Path | None, typer.Option(help="Keeps images and features.")] = None,
) -> None:
    """Measure the curves and draw them."""
    prepare_process(1)
    experiment, sizes = load_experiment(DEMO, 0), QUICK if quick else Sizes()
    with tempfile.TemporaryDirectory() as temporary:
        table = results / "learning_curves.csv"
        with atomic_path(table) as path, open(path, "w", newline="") as stream:
            writer = csv.DictWriter(stream, COLUMNS, lineterminator="\n")
            writer.writeheader()
            for row in measured(experiment, sizes, folder or Path(temporary)):
                writer.writerow(row)
                stream.flush()
                typer.echo(", ".join(f"{key} {value}" for key, value in row.items()))
        draw_curves(table, table.with_suffix(".png"))


if __name__ == "__main__":
    app()
