"""Does a model read its supports? Tests with wrong supports, and with a photo beside the query.

A photo with one object can be segmented without supports: whatever is salient is the object. Here
each test query is searched three times. `right`: with its own supports. `wrong`: with the supports
of the episode before; the object of the query stays the truth, and a model that reads its supports
finds much less of it. `beside`: with its own supports, but beside the query of the episode before,
whose objects are all background; a model that reads its supports loses little. Neither episode's
query shows the other's class.

UMTFSS_DATA_ROOT=data OMP_NUM_THREADS=1 python -m benchmarks.wrong_supports \
    --experiment voc_cpu objects/umtfss/unsup-all/seed0 prototype/training_free
"""

from dataclasses import fields, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Annotated

import numpy as np
import torch
import typer
from torch import Tensor, nn

from benchmarks.tables import write_rows
from benchmarks.world import RESULTS
from umtfss.common.device import prepare_process
from umtfss.episodes.batch import EpisodeBatch
from umtfss.episodes.episode import EpisodeList
from umtfss.episodes.masks import GroundTruthMasks
from umtfss.evaluation.evaluate_run import (
    EvaluationFiles,
    scoring_options,
    tested_episodes,
    tested_images,
    tested_model,
)
from umtfss.evaluation.miou import SegmentationScore, summarise
from umtfss.evaluation.scores import predicted_scores
from umtfss.experiment.load import load_experiment
from umtfss.figures.show import default_dataset
from umtfss.models.layers.position_encoding import repeat_edge
from umtfss.plan.jobs.evaluate_run import EvaluateRun
from umtfss.plan.plan import Plan

BATCH = 8
COLUMNS = ("experiment", "run", "episodes", "right", "wrong", "beside")
app = typer.Typer(add_completion=False)


class WithOtherSupports(nn.Module):
    """A model that sees the supports of the batch's episode before, in place of a query's own."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, batch: EpisodeBatch) -> Tensor:
        """The logits of the model, (B, 2, h, w)."""
        names = [one.name for one in fields(batch) if one.name.startswith("support_")]
        given = {name: getattr(batch, name) for name in names}
        rolled = {name: one.roll(1, 0) for name, one in given.items() if one is not None}
        logits: Tensor = self.model(replace(batch, **rolled))
        return logits


class Beside(nn.Module):
    """A model that sees each query beside the query of the batch's episode before.

    Args:
        model: The model.
        own: Whether to return the logits of the query; else those of the photo beside it, in the
            row of the episode that has this photo as its query.
    """

    def __init__(self, model: nn.Module, own: bool) -> None:
        super().__init__()
        self.model, self.own = model, own

    def forward(self, batch: EpisodeBatch) -> Tensor:
        """The logits of the model, (B, 2, h, w)."""
        names = ("query_mid", "query_high", "query_valid")
        queries = {name: getattr(batch, name) for name in names}
        pairs = {name: torch.cat([one, one.roll(1, 0)], -1) for name, one in queries.items()}
        width = batch.query_valid.shape[-1]
        logits: Tensor = self.model(replace(batch, side=None, **pairs))
        logits = logits[..., :width] if self.own else logits[..., width:].roll(-1, 0)
        return repeat_edge(logits, batch.query_valid, batch.side)


def before(row: int) -> int:
    """The episode that lends its supports or its query to episode `row` of whole batches."""
    return row - 1 if row % BATCH else row + BATCH - 1


def measured(plan: Plan, path: str, count: int) -> tuple[object, ...]:
    """The number of episodes, and the mIoU in percent: right, wrong, beside.

    Args:
        plan: The plan of the experiment.
        path: The run.
        count: Episodes of each fold, a multiple of `BATCH`, of which some are left out.
    """
    dataset = default_dataset(plan, plan.runs.run_at(path))
    spec = plan.runs.evaluation_at(SimpleNamespace(run=path, dataset=dataset, shot="1", refine=""))
    job, inputs = EvaluateRun.of_spec(plan, spec), plan.inputs.evaluation_inputs(spec)
    files = EvaluationFiles(
        *([inputs[name]] if isinstance(inputs[name], str) else list(inputs[name])
          for name in ("weights", "features", "superpixels", "episodes"))
    )  # fmt: skip
    device = torch.device("cpu")
    model, images = tested_model(job, files), tested_images(job, files, device)
    options, masks = scoring_options(job, BATCH, device), GroundTruthMasks(images)
    classes = sorted({c for fold in job.folds for c in job.dataset.novel_classes(fold)})
    scores = [SegmentationScore(classes) for _ in range(3)]
    searched = model, WithOtherSupports(model), Beside(model, True), Beside(model, False)
    for (_, seed), file in tested_episodes(job, files).items():
        if seed:
            continue
        episodes, rows = EpisodeList.load(file), range(count)
        found = [
            [score > 0 for score in predicted_scores(one, episodes, images, options, rows)]
            for one in searched
        ]
        for row, right, wrong, own, _ in zip(rows, *found, strict=True):
            other, class_id = before(row), int(episodes.class_id[row])
            pair = class_id, int(episodes.class_id[other])
            queries = episodes[row].query, episodes[other].query
            if pair[0] == pair[1] or any(
                (images.mask(query) == one).any()
                for query, one in zip(queries, reversed(pair), strict=True)
            ):
                continue
            label, nothing = (masks.mask(query, class_id) for query in queries)
            beside = np.concatenate([own.ravel(), found[3][other].ravel()])[None]
            both = np.concatenate([label.ravel(), nothing.ravel()])[None]
            truths = (right, label), (wrong, label), (beside, both)
            for score, (predicted, truth) in zip(scores, truths, strict=True):
                score.update(predicted, truth, class_id)
    ious = (f"{100 * summarise(one.scores).miou:.1f}" for one in scores)
    return len(scores[0].scores), *ious


@app.command()
def main(
    runs: Annotated[list[str], typer.Argument(help="paths that `umtfss plan` prints")],
    experiment: Annotated[str, typer.Option(help="an experiment whose runs are trained")],
    count: Annotated[int, typer.Option(help="episodes of a fold, a multiple of 8")] = 160,
    results: Annotated[Path, typer.Option(help="Where the table goes.")] = RESULTS,
) -> None:
    """Measure, and write the table."""
    prepare_process(1)
    plan = Plan(load_experiment(experiment))
    rows = ((experiment, path, *measured(plan, path, count)) for path in runs)
    write_rows(results / f"wrong_supports_{experiment}.csv", COLUMNS, rows)


if __name__ == "__main__":
    app()
