"""IoU over the length of a training on photos without labels: pixel clusters against objects.

Measured on the experiment `voc_dev`, so settings of `voc_cpu` can be chosen here without a test
image. Each pool is trained on once, at a constant rate; the averaged weights are tested on the way.
The floors of both networks stand beside the curves.

snakemake --cores all --config experiment=voc_dev -- all_features all_episodes
python -m benchmarks.photo_curves --pool objects --pool pixels    # ten minutes on one core
"""

import csv
import os
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from matplotlib.figure import Figure

from benchmarks.world import RESULTS
from umtfss.common.device import autocast, prepare_process
from umtfss.common.files import atomic_path
from umtfss.common.randomness import seed64
from umtfss.data.catalog import Catalog
from umtfss.data.open import open_datasets
from umtfss.episodes.cached import CachedEpisodes, collate
from umtfss.episodes.episode import EpisodeList
from umtfss.episodes.masks import PseudoMasks
from umtfss.evaluation.images import EpisodeImages
from umtfss.evaluation.miou import summarise
from umtfss.evaluation.scores import ScoringOptions, evaluate
from umtfss.experiment.backbones import backbone_spec
from umtfss.experiment.datasets import DATA_ROOT_VARIABLE
from umtfss.experiment.load import load_experiment
from umtfss.features.standard import Standardised
from umtfss.features.store import FeatureStore
from umtfss.models.base import MetaLearner
from umtfss.models.build import build_model
from umtfss.plan.cells import floor_run, matcher_run, unsupervised_run
from umtfss.plan.jobs.train_model import TrainModel
from umtfss.plan.plan import Plan
from umtfss.plan.run import RunSpec
from umtfss.pseudo_masks.store import PseudoMaskStore
from umtfss.training.schedule import main_rate
from umtfss.training.state import TrainingState
from umtfss.training.step import Objective, train_step
from umtfss.training.train_run import TrainingFiles, mid_scales

EXPERIMENT, DATASET = "voc_dev", "pascal"
POINTS = (100, 200, 400)
OWN_STEPS = 50  # steps whose tasks' IoU is averaged
FLOOR = "floor"
app = typer.Typer(add_completion=False)


def tested(plan: Plan, run: RunSpec, model: MetaLearner, scales: dict[str, float]) -> list[float]:
    """The mIoU of every tested fold, percent."""
    experiment, seen = plan.experiment, plan.features.model_features(run)
    store = FeatureStore(plan.paths.feature_manifests(plan.inputs.tested_caches(run, DATASET)))
    catalog = Catalog(open_datasets([plan.paths.source(DATASET)]))
    images = EpisodeImages(catalog, Standardised(store, scales))
    options = ScoringOptions(seen.mid, seen.high, experiment.evaluation.batch_size)
    found = []
    for fold in experiment.tables.folds:
        episodes = EpisodeList.load(plan.paths.test_episodes(DATASET, fold, 1, 0))
        scores = evaluate(model, episodes, images, options, progress=False)
        found.append(100 * summarise(scores).miou)
    return found


def curve(plan: Plan, pool: str, points: Sequence[int]) -> Iterator[tuple[int, float, list[float]]]:
    """(steps, IoU on the training's own tasks, mIoU of every fold) at every point of a training."""
    run = unsupervised_run(plan.experiment, pool)
    job, device = TrainModel.of_run(plan, run), torch.device("cpu")
    files = TrainingFiles(**plan.inputs.training_inputs(run))
    scales, stage = mid_scales(job, files), job.training
    torch.manual_seed(seed64("weights", job.seed))
    aligned = backbone_spec(job.features.backbone).align_corners
    model = build_model(job.model, job.settings, job.features.mid_channels, align_corners=aligned)
    assert stage.loss_side is not None
    items = CachedEpisodes(
        EpisodeList.load(plan.paths.training_episodes(run)),
        Standardised(FeatureStore(files.features), scales),
        job.features.mid,
        job.features.high,
        PseudoMasks(PseudoMaskStore(plan.paths.task_masks(run))),
        seed=job.seed,
        target_side=stage.loss_side,
        flip=stage.augment.flip,
    )
    with tempfile.TemporaryDirectory() as folder:
        state = TrainingState.new(model, stage, points[-1], device, Path(folder) / "log.csv")
    objective, own = Objective(model, lambda: autocast(device, stage.amp)), []
    for step in range(points[-1]):
        model.train()
        torch.manual_seed(seed64("dropout", job.seed, step, 0))
        first = step * stage.batch_size
        batch = collate([items[row] for row in range(first, first + stage.batch_size)])
        rate = main_rate(step, stage, 1)
        result = train_step(state, objective, batch, rate=rate, clip_norm=None, asked_to_stop=False)
        own.append(float(result[1]))
        if step + 1 in points:
            trained = state.trained
            assert isinstance(trained, MetaLearner)
            ious = tested(plan, run, trained, scales)
            yield step + 1, float(np.mean(own[-OWN_STEPS:])), ious


def measured(
    plan: Plan, pools: Sequence[str], points: Sequence[int]
) -> Iterator[dict[str, object]]:
    """The rows of the table; of 0 steps are the floors."""
    experiment = plan.experiment
    for run in (floor_run(experiment), matcher_run(experiment)):
        seen = plan.features.model_features(run)
        matcher = build_model(run.model, plan.runs.model_settings(run), seen.mid_channels)
        name = plan.features.run_features(run)
        yield _row(plan, FLOOR, name, 0, "", tested(plan, run, matcher, {}))
    for pool in pools:
        for steps, own, ious in curve(plan, pool, points):
            yield _row(plan, pool, experiment.model.features, steps, f"{own:.2f}", ious)


def _row(
    plan: Plan, trained_on: str, features: str, steps: int, own: str, ious: Sequence[float]
) -> dict[str, object]:
    names = [f"fold{fold}" for fold in plan.experiment.tables.folds]
    folds = {name: f"{iou:.2f}" for name, iou in zip(names, ious, strict=True)}
    head = {"trained_on": trained_on, "features": features, "steps": steps, "own_iou": own}
    return {**head, **folds, "mean": f"{np.mean(ious):.2f}"}


def draw_curves(rows: Sequence[dict[str, object]], picture: Path) -> None:
    """Draw a curve for each pool, and a line for each floor."""
    figure = Figure(figsize=(5.2, 3.4), layout="constrained")
    axes = figure.subplots()
    for number, row in enumerate(one for one in rows if one["trained_on"] == FLOOR):
        style = (":", "--")[number % 2]
        label = f"floor, {row['features']}"
        axes.axhline(float(str(row["mean"])), color="black", linestyle=style, label=label)
    for pool in dict.fromkeys(one["trained_on"] for one in rows if one["trained_on"] != FLOOR):
        own = [one for one in rows if one["trained_on"] == pool]
        steps, ious = zip(*((one["steps"], float(str(one["mean"]))) for one in own), strict=True)
        axes.plot([int(str(one)) for one in steps], ious, marker="o", label=str(pool))
    axes.set(xlabel="training steps", ylabel="mIoU on development images, %")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=7)
    with atomic_path(picture) as temporary:
        figure.savefig(temporary, dpi=120, metadata={"Software": None})


@app.command()
def main(
    pool: Annotated[list[str] | None, typer.Option(help="Pools; none: all.")] = None,
    points: Annotated[list[int] | None, typer.Option(help="Steps that are tested.")] = None,
    results: Annotated[Path, typer.Option(help="Where CSV and picture go.")] = RESULTS,
) -> None:
    """Measure the curves and draw them."""
    prepare_process(1)
    experiment = load_experiment(EXPERIMENT, 0)
    os.environ[DATA_ROOT_VARIABLE] = str(experiment.raw_data_root)
    table = results / "photo_curves.csv"
    rows = []
    for row in measured(Plan(experiment), pool or list(experiment.training), points or POINTS):
        rows.append(row)
        typer.echo(", ".join(f"{key} {value}" for key, value in row.items()))
    with atomic_path(table) as path, open(path, "w", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    draw_curves(rows, table.with_suffix(".png"))


if __name__ == "__main__":
    app()
