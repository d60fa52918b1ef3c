"""From evaluation files to the numbers of a table, each with its interval."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from umtfss.common.errors import TableError
from umtfss.evaluation.intervals import Interval, Term, contrast_interval, miou_interval
from umtfss.evaluation.miou import EpisodeScores, summarise
from umtfss.evaluation.results import RunResult, load_result
from umtfss.plan.cells import Cell, FoldFile, Table


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
Results = Mapping[str, RunResult]  # by the path of the evaluation file


def load_results(files: Iterable[FoldFile], purpose: str) -> Results:
    """What the evaluation files hold, by their paths.

    Args:
        files: The measurements wanted.
        purpose: What lacks them, if they are missing.

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
    """(row title, column title) -> value, of every cell of the table that is measured.

    Args:
        table: The table.
        resamples: Of the bootstrap.
        coverage: Of the intervals.

    Raises:
        TableError: An evaluation or a fold of it is missing, or a mean does not cover the
            table's folds.
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
    """The mean over the cell's measurements, or how much it is above another, and its interval.

    Args:
        cell: One fold, or each of `folds`, of every training seed.
        results: The evaluations.
        folds: The folds that a mean of this table covers.
        resamples: Of the bootstrap.
        coverage: Of the interval.

    Raises:
        TableError: The cell is a mean over some of the folds only, or an evaluation lacks its
            fold.
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
    )


def contrast(
    terms: Sequence[tuple[int, Cell[FoldFile]]],
    results: Results,
    *,
    resamples: int,
    coverage: float,
) -> Interval:
    """A sum of cells with signs, and its interval; in fractions.

    Cells of one data set and one K are tested on the same episodes: what the episodes do to all
    of them cancels out. So does what a training seed does to all of them.

    Args:
        terms: (sign, cell); all of the same folds and of one metric.
        results: The evaluations.
        resamples: Of the bootstrap.
        coverage: Of the interval.

    Raises:
        TableError: An evaluation lacks its fold.
    """
    seeds = min(file.seeds for _, cell in terms for file in cell.measurements)
    (metric,) = {cell.metric for _, cell in terms}
    summands = [
        Term(sign, cell_trainings(cell, results, seeds), cell.measurements[0].episodes)
        for sign, cell in terms
    ]
    return contrast_interval(summands, resamples=resamples, coverage=coverage, metric=metric)


def cell_trainings(cell: Cell[FoldFile], results: Results, seeds: int) -> list[list[EpisodeScores]]:
    """What was measured of every training seed, of every fold, the episode seeds pooled.

    Args:
        cell: The cell.
        results: The evaluations.
        seeds: Episode seeds pooled, the first ones.

    Raises:
        TableError: An evaluation lacks its fold.
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
