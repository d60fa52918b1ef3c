"""From evaluation files to the numbers of a table, each with its interval."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from umtfss.common.errors import TableError
from umtfss.evaluation.intervals import Interval, Term, contrast_interval, miou_interval
from umtfss.evaluation.miou import EpisodeScores, summarise
from umtfss.evaluation.results import RunResult, load_result
from umtfss.plan.cells import Cell, Table
from umtfss.plan.plan import Plan
from umtfss.plan.run import Measurement


@dataclass(frozen=True)
class Value:
    """A number of a table.

    Attributes:
        value: Percent, of the cell's metric; the mean over the cell's folds and training seeds.
        low: Percent, lower end of the interval.
        high: Percent, upper end of the interval.
        episodes: Episodes per fold and seed.
        seeds: Episode seeds pooled.
        coverage: Of the interval, e.g. 0.95.
        fb_iou: Percent, mean IoU of foreground and background; the same mean.
        trainings: Training seeds; 0 where nothing is trained.
        collapsed: Whether a training behind it found nothing on its own tasks (`TaskIoU`).
    """

    value: float
    low: float
    high: float
    episodes: int
    seeds: int
    coverage: float
    fb_iou: float
    trainings: int = 1
    collapsed: bool = False


Values = Mapping[tuple[str, str], Value]  # by row title and column title


def table_values(table: Table, plan: Plan) -> Values:
    """(row title, column title) -> value, of every cell of the table that is measured.

    Raises:
        TableError: An evaluation is missing; the message names every missing file. Or one is of
            another protocol than the experiment's, or a mean does not cover the table's folds.
    """
    paths = {
        (m.run.path, m.dataset, m.shot): Path(
            plan.evaluation(plan.evaluations[m.run.path, m.dataset, m.shot])
        )
        for m in table.measurements
    }
    missing = sorted({str(path) for path in paths.values() if not path.is_file()})
    if missing:
        raise TableError(
            f"{table.name} lacks {len(missing)} of {len(paths)} evaluations",
            expected="\n            ".join(missing),
            fix="run snakemake --cores all all_tables, which makes them",
        )
    results = {key: load_result(path) for key, path in paths.items()}
    settings = plan.experiment.evaluation
    return {
        (cell.row, cell.column): cell_value(
            cell,
            lambda m: results[m.run.path, m.dataset, m.shot],
            folds=table.folds,
            resamples=settings.bootstrap,
            coverage=settings.interval,
        )
        for cell in table.cells
        if cell.measurements
    }


def cell_value(
    cell: Cell,
    load: Callable[[Measurement], RunResult],
    *,
    folds: Sequence[int],
    resamples: int,
    coverage: float,
) -> Value:
    """The mean over the cell's measurements, or how much it is above another, and its interval.

    Args:
        cell: One fold, or each of `folds`, of every training seed.
        load: The evaluation that holds a measurement.
        folds: The folds that a mean of this table covers.
        resamples: Of the bootstrap.
        coverage: Of the interval.

    Raises:
        TableError: The cell is a mean over some of the folds only, or an evaluation lacks its
            fold.
    """
    found = list(dict.fromkeys(m.fold for m in cell.measurements))
    if len(found) > 1 and sorted(found) != sorted(folds):
        raise TableError(
            f"{_place(cell)}: a mean over fewer folds than the table's is not printed",
            expected=list(folds),
            found=found,
            fix="test every fold, or set tables.folds, and the caption will say so",
        )
    collapsed = any(load(m).facts.get("collapsed", False) for m in cell.measurements)
    seeds = cell.measurements[0].seeds
    trainings = cell_trainings(cell, load, seeds)
    parts = [part for training in trainings for part in training]
    counts = {len(part) // seeds for part in parts}
    if len(counts) != 1:
        raise TableError(
            f"{_place(cell)}: folds were tested on different numbers of episodes",
            expected="one number",
            found=sorted(counts),
            fix="run snakemake --cores all all_evaluation",
        )
    fb_iou = sum(summarise(part).fb_iou for part in parts) / len(parts)
    sampling: dict[str, Any] = {"resamples": resamples, "coverage": coverage}
    if cell.minus:
        own, base = replace(cell, minus=()), replace(cell, measurements=cell.minus, minus=())
        interval = contrast([(1, own), (-1, base)], load, **sampling)
        others = [part for training in cell_trainings(base, load, seeds) for part in training]
        fb_iou -= sum(summarise(part).fb_iou for part in others) / len(others)
    else:
        interval = miou_interval(trainings, metric=cell.metric, **sampling)
    return Value(
        100 * interval.value,
        100 * interval.low,
        100 * interval.high,
        counts.pop(),
        seeds,
        coverage,
        100 * fb_iou,
        len(trainings) if cell.measurements[0].run.is_trained else 0,
        collapsed,
    )


def contrast(
    terms: Sequence[tuple[int, Cell]],
    load: Callable[[Measurement], RunResult],
    *,
    resamples: int,
    coverage: float,
) -> Interval:
    """A sum of cells with signs, and its interval; in fractions.

    Cells of one data set and one K are tested on the same episodes: what the episodes do to all
    of them cancels out. So does what a training seed does to all of them.

    Args:
        terms: (sign, cell); all of the same folds and of one metric.
        load: The evaluation that holds a measurement.
        resamples: Of the bootstrap.
        coverage: Of the interval.

    Raises:
        TableError: An evaluation lacks its fold.
    """
    seeds = min(m.seeds for _, cell in terms for m in cell.measurements)
    (metric,) = {cell.metric for _, cell in terms}
    summands = []
    for sign, cell in terms:
        first = cell.measurements[0]
        tested = f"{first.dataset} {first.shot}-shot"
        summands.append(Term(sign, cell_trainings(cell, load, seeds), tested))
    return contrast_interval(summands, resamples=resamples, coverage=coverage, metric=metric)


def cell_trainings(
    cell: Cell, load: Callable[[Measurement], RunResult], seeds: int
) -> list[list[EpisodeScores]]:
    """What was measured of every training seed, of every fold, the episode seeds pooled.

    Args:
        cell: The cell.
        load: The evaluation that holds a measurement.
        seeds: Episode seeds pooled, the first ones.

    Raises:
        TableError: An evaluation lacks its fold.
    """
    trainings: dict[int, dict[int, EpisodeScores]] = {}
    for measurement in cell.measurements:
        result = load(measurement)
        if measurement.fold not in result.folds:
            raise TableError(
                f"{_place(cell)}: the evaluation of {measurement.run.path} on "
                f"{measurement.dataset}, {measurement.shot}-shot, lacks a fold",
                expected=measurement.fold,
                found=sorted(result.folds),
                fix="run snakemake --cores all all_evaluation",
            )
        scores = result.folds[measurement.fold].pooled(seeds)
        trainings.setdefault(measurement.run.seed, {})[measurement.fold] = scores
    return [[folds[fold] for fold in sorted(folds)] for _, folds in sorted(trainings.items())]


def _place(cell: Cell) -> str:
    return f"row {cell.row!r}, column {cell.column!r}"
