"""The layout of tables: cells with keys, and the measurements that a cell averages.

This module reads no result.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

from umtfss.experiment.block import FOLDS
from umtfss.experiment.datasets import OWN_KINDS
from umtfss.experiment.evaluation import Metric
from umtfss.experiment.schema import Experiment
from umtfss.plan.run import Measurement, RunSpec, TaskSource

# The matcher without our additions, which the floors of papers do not have.
PLAIN_MATCHER: dict[str, Any] = {"self_support": False, "margin": 0.0}

Key = Mapping[str, str | int]  # identifies a cell of a table, e.g. {"model": "umtfss"}
Measured = TypeVar("Measured")  # `Measurement` in a plan, `FoldFile` where numbers are read
Other = TypeVar("Other")


@dataclass(frozen=True)
class Column:
    """The title of a column.

    Attributes:
        title: E.g. "fold 0", "mean" or "20 %".
        group: Common title of neighbouring columns, e.g. "pascal 1-shot"; empty: none.
    """

    title: str
    group: str = ""

    @property
    def name(self) -> str:
        """The whole title, e.g. "pascal 1-shot fold 0"."""
        return f"{self.group} {self.title}".strip()


@dataclass(frozen=True)
class FoldFile:
    """One measurement in an evaluation file.

    Attributes:
        path: The evaluation file.
        fold: Tested fold.
        seeds: Number of episode seeds that are averaged: seeds 0 .. seeds - 1.
        training: Training seed; None if nothing is trained.
        episodes: Name of the test, e.g. "pascal 1-shot"; equal names mean equal episodes.
    """

    path: str
    fold: int
    seeds: int
    training: int | None
    episodes: str


@dataclass(frozen=True)
class Cell(Generic[Measured]):
    """A printed number: the mean over its measurements, beside the paper's number.

    Attributes:
        row: Row title.
        column: Column title.
        key: Identifies the cell, e.g. {"model": "umtfss", "shot": 1, "fold": 0}; a mean over folds
            has no "fold". Claims and figures find a cell by its key, not by titles.
        measurements: The measurements that are averaged, of every training seed: one fold, or every
            fold for a mean. Empty for a number that is quoted from the paper.
        paper: The paper's number in percent; None if the paper prints none.
        metric: The metric that is averaged: mIoU, or the mean over classes of an episode's IoU.
        minus: Measurements of another run on the same episodes; if given, the number is the
            difference.
    """

    row: str
    column: Column
    key: Key
    measurements: tuple[Measured, ...]
    paper: float | None = None
    metric: Metric = "miou"
    minus: tuple[Measured, ...] = ()

    @property
    def place(self) -> tuple[str, str]:
        """(row title, column title)."""
        return self.row, self.column.name

    def of(self, change: Callable[[Measured], Other]) -> "Cell[Other]":
        """The cell with `change` applied to every measurement."""
        own, minus = (tuple(map(change, part)) for part in (self.measurements, self.minus))
        return Cell(self.row, self.column, self.key, own, self.paper, self.metric, minus)


@dataclass(frozen=True)
class Table(Generic[Measured]):
    """A table: titles, and a cell for every pair of titles that has a number.

    Attributes:
        name: Name in the registry (`umtfss/plan/tables/registry.py`), and stem of the files.
        title: Caption, one sentence.
        corner: Title of the column of row titles.
        rows: Row titles in order.
        columns: Column titles in order.
        cells: The cells; a pair of titles without a cell prints a dash.
        folds: The folds that a mean covers; the caption names them if there are fewer than four.
        note: Text under the table.
        development: The tested splits other than the official test split, e.g. "pascal/train"; the
            caption names them.
        leaves_out: Whether test classes with too few images may be left out; the notes say how
            many were tested.
    """

    name: str
    title: str
    corner: str
    rows: tuple[str, ...]
    columns: tuple[Column, ...]
    cells: tuple[Cell[Measured], ...]
    folds: tuple[int, ...]
    note: str
    development: tuple[str, ...] = ()
    leaves_out: bool = False

    def cell(self, key: Key, metric: Metric = "miou") -> Cell[Measured] | None:
        """The measured cell with exactly this key; None if there is none."""
        wanted = (c for c in self.cells if (c.metric, c.key) == (metric, key) and c.measurements)
        return next(wanted, None)

    def values_of(self, name: str) -> list[Any]:
        """The distinct values of `name` in the keys of the measured cells, in order."""
        found = (cell.key[name] for cell in self.cells if name in cell.key and cell.measurements)
        return list(dict.fromkeys(found))

    @property
    def key_names(self) -> tuple[str, ...]:
        """The names in the keys of the cells, in order."""
        return tuple(dict.fromkeys(name for cell in self.cells for name in cell.key))

    @property
    def measurements(self) -> Iterator[Measured]:
        """Every measurement of the table, repetitions included."""
        for cell in self.cells:
            yield from cell.measurements
            yield from cell.minus

    def of(self, change: Callable[[Measured], Other]) -> "Table[Other]":
        """The table with `change` applied to every measurement."""
        cells = tuple(cell.of(change) for cell in self.cells)
        return Table(
            self.name,
            self.title,
            self.corner,
            self.rows,
            self.columns,
            cells,
            self.folds,
            self.note,
            self.development,
            self.leaves_out,
        )


def matcher_run(experiment: Experiment, **overrides: str | float) -> RunSpec:
    """The prototype matcher, which needs no training; overrides as in `unsupervised_run`."""
    return RunSpec("prototype", overrides=_changed(experiment, overrides))


def floor_run(experiment: Experiment) -> RunSpec:
    """The training-free floor: the plain matcher on the features of the floor."""
    return replace(matcher_run(experiment, **PLAIN_MATCHER), features=floor_features(experiment))


def floor_features(experiment: Experiment) -> str:
    """The value of `RunSpec.features` for the floor's features; empty for the model's features."""
    name = experiment.floor_features
    return "" if name == experiment.model.features else name


def floor_is_mirrored(experiment: Experiment) -> bool:
    """Whether the floor's features are averaged over an image and its mirror image."""
    return experiment.extracted[experiment.source_of(experiment.floor_features)].mirrored


def unsupervised_run(
    experiment: Experiment,
    pool: str,
    fold: int | None = None,
    model: str = "umtfss",
    *,
    features: str = "",
    **overrides: str | float,
) -> RunSpec:
    """A model meta-trained on pseudo-tasks of `pool`.

    Overrides equal to the experiment's model block are dropped, so that a cell at the default
    shares the default's run.

    Args:
        experiment: The experiment.
        pool: The unlabelled pool.
        fold: As in `RunSpec`.
        model: Meta-learner.
        features: As in `RunSpec`.
        **overrides: Model keys.
    """
    changed = _changed(experiment, overrides)
    tasks, seed = TaskSource.CLUSTERS, experiment.seed
    return RunSpec(model, pool, tasks, fold, overrides=changed, seed=seed, features=features)


def _changed(
    experiment: Experiment, overrides: Mapping[str, str | float]
) -> tuple[tuple[str, str | float], ...]:
    """The overrides that differ from the experiment's model block, checked and sorted."""
    block = experiment.model
    changed = {k: v for k, v in overrides.items() if block.value(k) != v}
    block.changed(changed)  # refuses values out of range
    return tuple(sorted(changed.items()))


def labelled_run(
    experiment: Experiment, dataset: str, fold: int, model: str, ratio: int, init: str = ""
) -> RunSpec:
    """A model meta-trained on `ratio` % of the labels of a fold's base classes.

    Args:
        experiment: The experiment.
        dataset: Data set.
        fold: Fold whose base classes are trained on and whose novel classes are tested.
        model: Meta-learner.
        ratio: Percent of the training images whose labels are read.
        init: Pool of the unsupervised weights that training starts from; empty: from scratch.
    """
    seed = experiment.seed
    return RunSpec(model, dataset, TaskSource.LABELS, fold, ratio=ratio, init=init, seed=seed)


def measure_folds(
    experiment: Experiment,
    run: RunSpec,
    dataset: str,
    shot: int,
    seeds: int,
    refine: tuple[str, ...] | None = None,
) -> tuple[Measurement, ...]:
    """Measurements of one run on every fold, for every training seed (see `measure_runs`)."""
    runs = dict.fromkeys(experiment.tables.folds, run)
    return measure_runs(experiment, runs, dataset, shot, seeds, refine)


def measure_runs(
    experiment: Experiment,
    runs: Mapping[int, RunSpec],
    dataset: str,
    shot: int,
    seeds: int,
    refine: tuple[str, ...] | None = None,
) -> tuple[Measurement, ...]:
    """Measurements of a separate run on every fold, for every training seed.

    Args:
        experiment: The experiment.
        runs: Fold -> run with the first training seed.
        dataset: Tested data set.
        shot: K.
        seeds: Number of episode seeds.
        refine: Steps of refinement of the scores; None: all steps of `evaluation.refine`.
    """
    steps = experiment.evaluation.refine.steps if refine is None else refine
    return tuple(
        Measurement(seeded, dataset, fold, shot, seeds, steps)
        for fold, run in runs.items()
        for seeded in run.seeded(experiment.evaluation.training_seeds)
    )


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
    """Measurements of the run trained on each fold's labels, for every training seed."""
    runs = {
        fold: labelled_run(experiment, dataset, fold, model, ratio, init)
        for fold in experiment.tables.folds
    }
    return measure_runs(experiment, runs, dataset, shot, seeds)


def fold_cells(
    row: str,
    key: Key,
    measured: tuple[Measurement, ...],
    *,
    group: str = "",
    paper: Mapping[str, Any] | None = None,
    metric: Metric = "miou",
) -> Iterator[Cell[Measurement]]:
    """A cell for each fold, and a cell for the mean of the folds.

    Args:
        row: Row title.
        key: Key of the mean; the key of a fold's cell also has "fold".
        measured: Measurements of every fold, for every training seed.
        group: Group of the columns.
        paper: The paper's numbers, `folds` and `mean`, if the paper prints them.
        metric: As in `Cell`.
    """
    paper = paper or {}
    for fold in dict.fromkeys(one.fold for one in measured):
        own = tuple(one for one in measured if one.fold == fold)
        number = paper["folds"][fold] if paper else None
        column = Column(f"fold {fold}", group)
        yield Cell(row, column, {**key, "fold": fold}, own, number, metric)
    mean = of_all_folds(paper.get("mean"), measured)
    yield Cell(row, Column("mean", group), key, measured, mean, metric)


def of_all_folds(mean: float | None, measured: tuple[Measurement, ...]) -> float | None:
    """The paper's mean of four folds; None if fewer folds are measured here."""
    return mean if {one.fold for one in measured} == set(FOLDS) else None


def build_table(
    experiment: Experiment,
    name: str,
    title: str,
    corner: str,
    cells: list[Cell[Measurement]],
    *,
    columns: tuple[Column, ...] = (),
    note: str = "",
) -> Table[Measurement]:
    """A table over the experiment's folds; the experiment's note follows `note`.

    Args:
        experiment: The experiment.
        name: As in `Table`.
        title: As in `Table`.
        corner: As in `Table`.
        cells: The cells, in the order of the rows.
        columns: The columns, if their order differs from that of the cells.
        note: Note of the table itself.
    """
    tested = sorted({m.dataset for cell in cells for m in cell.measurements})
    settings = {dataset: experiment.datasets[dataset] for dataset in tested}
    own = {dataset for dataset, one in settings.items() if one.kind in OWN_KINDS}
    cells = [  # the paper has no number for a data set of one's own
        replace(cell, paper=None) if own & {m.dataset for m in cell.measurements} else cell
        for cell in cells
    ]
    return Table(
        name,
        title,
        corner,
        rows=tuple(dict.fromkeys(cell.row for cell in cells)),
        columns=columns or tuple(dict.fromkeys(cell.column for cell in cells)),
        cells=tuple(cells),
        folds=tuple(experiment.tables.folds),
        note=" ".join(part for part in (note, experiment.tables.note) if part),
        development=tuple(
            f"{dataset}/{one.test_split}" for dataset, one in settings.items() if one.is_development
        ),
        leaves_out=any(one.rare_classes == "leave_out" for one in settings.values()),
    )
