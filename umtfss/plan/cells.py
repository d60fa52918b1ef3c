"""What a table is made of: the runs that are measured, their measurements, and cells of those.

Nothing here reads a result.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from umtfss.experiment.block import FOLDS
from umtfss.experiment.evaluation import Metric
from umtfss.experiment.schema import Experiment
from umtfss.plan.run import Measurement, RunSpec

# The matcher without what is added to it here: none of it is in a paper's floor.
PLAIN_MATCHER: dict[str, Any] = {
    "self_support": False,
    "margin": 0.0,
    "superpixels": 0.0,
}


@dataclass(frozen=True)
class Cell:
    """A printed number: the mean over its measurements, beside the paper's number.

    Attributes:
        row: Row title.
        column: Column title.
        measurements: What is averaged: one for a single fold, one per fold for a mean, of every
            training seed; none for a number that is quoted from the paper.
        paper: The paper's number in percent, if it printed one.
        metric: What is averaged: the class IoU, or the classes' mean IoU of an episode.
        minus: Measurements of another run on the same episodes; then the number is the difference.
    """

    row: str
    column: str
    measurements: tuple[Measurement, ...]
    paper: float | None = None
    metric: Metric = "miou"
    minus: tuple[Measurement, ...] = ()


@dataclass(frozen=True)
class Table:
    """A table: titles, and a cell for every pair of titles that has a number.

    Attributes:
        name: "headline", "table1" .. "table6", "ablation" or "departures"; the stem of its files.
        title: Caption, one sentence.
        corner: Title of the column of row titles.
        rows: Row titles in order.
        columns: Column titles in order.
        cells: The cells; a pair of titles without one prints a dash.
        folds: The folds that a mean covers; fewer than four are said in the caption.
        note: Printed under the table.
        development: The splits tested, e.g. "pascal/train", that are not the official test split;
            they are said in the caption.
    """

    name: str
    title: str
    corner: str
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    cells: tuple[Cell, ...]
    folds: tuple[int, ...]
    note: str
    development: tuple[str, ...] = ()

    def cell(self, row: str, column: str) -> Cell | None:
        """The measured cell of that row and column, if there is one."""
        wanted = (c for c in self.cells if (c.row, c.column) == (row, column) and c.measurements)
        return next(wanted, None)

    @property
    def measurements(self) -> Iterator[Measurement]:
        """Every measurement that the table needs, repetitions included."""
        for cell in self.cells:
            yield from cell.measurements
            yield from cell.minus


def matcher_run(experiment: Experiment, **overrides: str | float) -> RunSpec:
    """The prototype matcher, which needs no training; overrides as of `unsupervised_run`."""
    return RunSpec("prototype", overrides=_changed(experiment, overrides))


def floor_run(experiment: Experiment) -> RunSpec:
    """The training-free floor: the matcher as everyone has it, on the backbone's own features."""
    raw = experiment.features.diffusion is not None
    return replace(matcher_run(experiment, **PLAIN_MATCHER), raw=raw)


def unsupervised_run(
    experiment: Experiment,
    pool: str,
    fold: str = "all",
    model: str = "umtfss",
    *,
    raw: bool = False,
    **overrides: str | float,
) -> RunSpec:
    """A model meta-trained on pseudo-tasks of `pool`.

    Overrides equal to the experiment's own model block are dropped, so that a cell at the
    default shares the default's run.

    Args:
        experiment: The experiment.
        pool: The unlabelled pool.
        fold: As of `RunSpec`.
        model: Meta-learner.
        raw: Whether it sees the features before diffusion.
        **overrides: Model keys.
    """
    changed = _changed(experiment, overrides)
    return RunSpec(model, pool, "unsup", fold, overrides=changed, seed=experiment.seed, raw=raw)


def _changed(
    experiment: Experiment, overrides: Mapping[str, str | float]
) -> tuple[tuple[str, str | float], ...]:
    """The overrides that differ from the experiment's model block, checked and sorted."""
    block = experiment.model
    changed = {k: v for k, v in overrides.items() if block.value(k) != v}
    block.changed(changed)  # refuses what is out of range
    return tuple(sorted(changed.items()))


def labelled_run(
    experiment: Experiment, dataset: str, fold: int, model: str, ratio: int, init: str = ""
) -> RunSpec:
    """A model meta-trained on `ratio` % of the labels of a fold's base classes.

    Args:
        experiment: The experiment.
        dataset: Data set.
        fold: Fold that it will be tested on.
        model: Meta-learner.
        ratio: Percent.
        init: Pool of the unsupervised weights that it starts from; empty: from scratch.
    """
    seed = experiment.seed
    return RunSpec(model, dataset, "sup", f"fold{fold}", ratio=ratio, init=init, seed=seed)


def measure_folds(
    experiment: Experiment, run: RunSpec, dataset: str, shot: int, seeds: int
) -> tuple[Measurement, ...]:
    """Every fold tested with the same run, of every training seed."""
    runs = dict.fromkeys(experiment.tables.folds, run)
    return measure_runs(experiment, runs, dataset, shot, seeds)


def measure_runs(
    experiment: Experiment, runs: Mapping[int, RunSpec], dataset: str, shot: int, seeds: int
) -> tuple[Measurement, ...]:
    """Every fold tested with a run of its own, of every training seed.

    Args:
        experiment: The experiment.
        runs: Fold -> its run, with the first training seed.
        dataset: Data set tested.
        shot: K.
        seeds: Episode seeds.
    """
    return tuple(
        Measurement(seeded, dataset, fold, shot, seeds)
        for fold, run in runs.items()
        for seeded in run.seeded(experiment.evaluation.training_seeds)
    )


def fold_columns(experiment: Experiment, prefix: str = "") -> tuple[str, ...]:
    """The titles of the columns of the folds and of their mean."""
    return (*(f"{prefix}fold {f}" for f in experiment.tables.folds), f"{prefix}mean")


def measure_labelled(
    experiment: Experiment,
    dataset: str,
    model: str,
    ratio: int,
    *,
    init: str = "",
    shot: int = 1,
    seeds: int,
) -> tuple[Measurement, ...]:
    """Every fold tested with the run that its labels trained, of every training seed."""
    runs = {
        fold: labelled_run(experiment, dataset, fold, model, ratio, init)
        for fold in experiment.tables.folds
    }
    return measure_runs(experiment, runs, dataset, shot, seeds)


def fold_cells(
    row: str,
    columns: tuple[str, ...],
    measured: tuple[Measurement, ...],
    paper: dict[str, Any],
    metric: Metric = "miou",
) -> Iterator[Cell]:
    """A cell for each fold and one for the mean; `paper` has `folds` and `mean`, or is empty."""
    folds = dict.fromkeys(one.fold for one in measured)
    for column, fold in zip(columns, folds, strict=False):
        number = paper["folds"][fold] if paper else None
        own = tuple(one for one in measured if one.fold == fold)
        yield Cell(row, column, own, number, metric)
    yield Cell(row, columns[-1], measured, of_all_folds(paper.get("mean"), measured), metric)


def of_all_folds(mean: float | None, measured: tuple[Measurement, ...]) -> float | None:
    """The paper's mean of four folds; none beside a mean of fewer."""
    return mean if {one.fold for one in measured} == set(FOLDS) else None


def build_table(
    experiment: Experiment,
    name: str,
    title: str,
    corner: str,
    rows: tuple[str, ...],
    columns: tuple[str, ...],
    cells: list[Cell],
    note: str = "",
) -> Table:
    """A table over the experiment's folds, with the experiment's own note after `note`."""
    notes = " ".join(part for part in (note, experiment.tables.note) if part)
    folds = tuple(experiment.tables.folds)
    tested = sorted({m.dataset for cell in cells for m in cell.measurements})
    settings = {dataset: experiment.datasets[dataset] for dataset in tested}
    development = tuple(
        f"{name}/{one.test_split}" for name, one in settings.items() if one.is_development
    )
    return Table(name, title, corner, rows, columns, tuple(cells), folds, notes, development)
