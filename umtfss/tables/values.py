"""From evaluation files to the numbers of a table, with intervals."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from umtfss.common.errors import TableError
from umtfss.evaluation.intervals import Interval, Term, contrast_interval, miou_interval
from umtfss.evaluation.miou import EpisodeScores, summarise
from umtfss.evaluation.results import RunResult, load_result
from umtfss.plan.cells import Cell, FoldFile, Table


@dataclass(frozen=True)
class Value:
    """A number of a table.

    Attributes:
        value: The cell's metric, mean over folds and training seeds, percent.
        low: Lower end of the interval, percent.
        high: Upper end of the interval, percent.
        episodes: Number of episodes per fold and seed.
        seeds: Number of pooled episode seeds.
        coverage: Coverage of the interval, e.g. 0.95.
        fb_iou: Mean IoU of foreground and background, mean over folds and training seeds, percent.
        trainings: Number of training seeds; 0 if nothing is trained.
        collapsed: Whether a training of the number collapsed (see `TaskIoU`).
        classes: Number of tested classes, of all folds together.
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
    classes: int = 0


Values = Mapping[tuple[str, str], Value]  # by row title and column title
Results = Mapping[str, RunResult]  # by the path of the evaluation file


def load_results(files: Iterable[FoldFile], purpose: str) -> Results:
    """Read evaluation files: path -> result.

    Args:
        files: The measurements to read.
        purpose: What the files are read for, e.g. a table; for messages.

    Raises:
        TableError: An evaluation is missing; the message names every missing file.
        StoreError: An evaluation is broken or of another version.
    """
    paths = sorted({file.path for file in files})
    missing = [path for path in paths if not Path(path).is_file()]
    if missing:
        raise TableError(
            f"{purpose} lacks {len(missing)} of {len(paths)} evaluations",
            expected="\n            ".join(missing),
            fix="run snakemake --cores all all_tables, which makes them",
        )
    return {path: load_result(path) for path in paths}


def table_values(table: Table[FoldFile], *, resamples: int, coverage: float) -> Values:
    """(row title, column title) -> value of every measured cell of a table.

    Args:
        table: The table.
        resamples: Number of bootstrap resamples.
        coverage: Coverage of the intervals.

    Raises:
        TableError: An evaluation, or a fold of an evaluation, is missing, or a mean does not cover
            the table's folds.
    """
    results = load_results(table.measurements, table.name)
    return {
        cell.place: cell_value(
            cell, results, folds=table.folds, resamples=resamples, coverage=coverage
        )
        for cell in table.cells
        if cell.measurements
    }


def cell_value(
    cell: Cell[FoldFile],
    results: Results,
    *,
    folds: Sequence[int],
    resamples: int,
    coverage: float,
) -> Value:
    """The mean over a cell's measurements, or a difference of two means, with its interval.

    Args:
        cell: The cell, with measurements of one fold or of all `folds`, for every training seed.
        results: Path -> evaluation.
        folds: The folds that a mean of this table covers.
        resamples: Number of bootstrap resamples.
        coverage: Coverage of the interval.

    Raises:
        TableError: The cell covers more than one fold but not all of `folds`, or an evaluation
            lacks a fold.
    """
    found = list(dict.fromkeys(file.fold for file in cell.measurements))
    if len(found) > 1 and sorted(found) != sorted(folds):
        raise TableError(
            f"{_where(cell)}: a mean over fewer folds than the table's is not printed",
            expected=list(folds),
            found=found,
            fix="test every fold, or set tables.folds, and the caption will say so",
        )
    seeds = cell.measurements[0].seeds
    trainings = cell_trainings(cell, results, seeds)
    parts = [part for training in trainings for part in training]
    counts = {len(part) // seeds for part in parts}
    if len(counts) != 1:
        raise TableError(
            f"{_where(cell)}: folds were tested on different numbers of episodes",
            expected="one number",
            found=sorted(counts),
            fix="run snakemake --cores all all_evaluation",
        )
    fb_iou = _mean_fb_iou(parts)
    if cell.minus:
        own, base = replace(cell, minus=()), replace(cell, measurements=cell.minus, minus=())
        interval = contrast([(1, own), (-1, base)], results, resamples=resamples, coverage=coverage)
        others = [part for training in cell_trainings(base, results, seeds) for part in training]
        fb_iou -= _mean_fb_iou(others)
    else:
        interval = miou_interval(
            trainings, resamples=resamples, coverage=coverage, metric=cell.metric
        )
    return Value(
        value=100 * interval.value,
        low=100 * interval.low,
        high=100 * interval.high,
        episodes=counts.pop(),
        seeds=seeds,
        coverage=coverage,
        fb_iou=100 * fb_iou,
        trainings=0 if cell.measurements[0].training is None else len(trainings),
        collapsed=any(
            results[file.path].facts.get("collapsed", False) for file in cell.measurements
        ),
        classes=len({int(label) for part in parts for label in np.unique(part.class_id)}),
    )


def contrast(
    terms: Sequence[tuple[int, Cell[FoldFile]]],
    results: Results,
    *,
    resamples: int,
    coverage: float,
) -> Interval:
    """A signed sum of cells with its interval, as fractions.

    Cells of one data set and one K are tested on the same episodes, so effects of episodes that the
    cells share cancel out, and so do shared effects of training seeds. Where one table trains more
    often than another, the training seeds that all cells have are compared.

    Args:
        terms: (sign, cell) of every term, with the same folds and metric.
        results: Path -> evaluation.
        resamples: Number of bootstrap resamples.
        coverage: Coverage of the interval.

    Raises:
        TableError: An evaluation lacks a fold.
    """
    seeds = min(file.seeds for _, cell in terms for file in cell.measurements)
    (metric,) = {cell.metric for _, cell in terms}
    shared = max(1, shared_trainings(terms))
    summands = [
        Term(sign, cell_trainings(cell, results, seeds)[:shared], cell.measurements[0].episodes)
        for sign, cell in terms
    ]
    return contrast_interval(summands, resamples=resamples, coverage=coverage, metric=metric)


def shared_trainings(terms: Sequence[tuple[int, Cell[FoldFile]]]) -> int:
    """The number of training seeds that all trained cells of a sum have; 0 if none is trained."""
    seeds = ({file.training for file in cell.measurements} - {None} for _, cell in terms)
    return min((len(found) for found in seeds if found), default=0)


def cell_trainings(cell: Cell[FoldFile], results: Results, seeds: int) -> list[list[EpisodeScores]]:
    """The counts of every training seed and every fold, with episode seeds pooled.

    Args:
        cell: The cell.
        results: Path -> evaluation.
        seeds: Number of episode seeds to pool: seeds 0 .. seeds - 1.

    Raises:
        TableError: An evaluation lacks a fold.
    """
    trainings: dict[int, dict[int, EpisodeScores]] = {}
    for file in cell.measurements:
        result = results[file.path]
        if file.fold not in result.folds:
            raise TableError(
                f"{_where(cell)}: {file.path} lacks a fold",
                expected=file.fold,
                found=sorted(result.folds),
                fix="run snakemake --cores all all_evaluation",
            )
        scores = result.folds[file.fold].pooled(seeds)
        trainings.setdefault(file.training or 0, {})[file.fold] = scores
    return [[folds[fold] for fold in sorted(folds)] for _, folds in sorted(trainings.items())]


def _mean_fb_iou(parts: Sequence[EpisodeScores]) -> float:
    return sum(summarise(part).fb_iou for part in parts) / len(parts)


def _where(cell: Cell[FoldFile]) -> str:
    row, column = cell.place
    return f"row {row!r}, column {column!r}"
