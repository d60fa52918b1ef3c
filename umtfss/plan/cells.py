"""What a table is made of: cells with keys, and the measurements that a cell is the mean of.

Nothing here reads a result.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

from umtfss.experiment.block import FOLDS
from umtfss.experiment.evaluation import Metric
from umtfss.experiment.schema import Experiment
from umtfss.plan.run import Measurement, RunSpec, TaskSource

# The matcher without what is added to it here: none of it is in a paper's floor.
PLAIN_MATCHER: dict[str, Any] = {"self_support": False, "margin": 0.0}

Key = Mapping[str, str | int]  # what tells a cell from the others, e.g. {"model": "umtfss"}
Measured = TypeVar("Measured")  # `Measurement` in a plan, `FoldFile` where numbers are read
Other = TypeVar("Other")


@dataclass(frozen=True)
class Column:
    """The title of a column.

    Attributes:
        title: E.g. "fold 0", "mean" or "20 %".
        group: What neighbouring columns share, e.g. "pascal 1-shot"; empty: nothing.
    """

    title: str
    group: str = ""

    @property
    def name(self) -> str:
        """The whole title, e.g. "pascal 1-shot fold 0"."""
        return f"{self.group} {self.title}".strip()


@dataclass(frozen=True)
class FoldFile:
    """One measurement as it lies in an evaluation file.

    Attributes:
        path: The evaluation file.
        fold: Fold tested.
        seeds: Number of episode seeds averaged, the first ones.
        training: Training seed; none where nothing is trained.
        episodes: What was tested, e.g. "pascal 1-shot"; equal names are equal episodes.
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
        key: What is measured, e.g. {"model": "umtfss", "shot": 1, "fold": 0}; a mean over folds
            has no "fold". Keys, not titles, are what claims and figures look for.
        measurements: What is averaged: one for a single fold, one per fold for a mean, of every
            training seed; none for a number that is quoted from the paper.
        paper: The paper's number in percent, if it printed one.
        metric: What is averaged: the class IoU, or the classes' mean IoU of an episode.
        minus: Measurements of another run on the same episodes; then the number is the difference.
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
        """The cell with each of its measurements changed."""
        own, minus = (tuple(map(change, part)) for part in (self.measurements, self.minus))
        return Cell(self.row, self.column, self.key, own, self.paper, self.metric, minus)


@dataclass(frozen=True)
class Table(Generic[Measured]):
    """A table: titles, and a cell for every pair of titles that has a number.

    Attributes:
        name: Its name in the registry (`umtfss/plan/tables/registry.py`); the stem of its files.
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
    columns: tuple[Column, ...]
    cells: tuple[Cell[Measured], ...]
    folds: tuple[int, ...]
    note: str
    development: tuple[str, ...] = ()

    def cell(self, key: Key, metric: Metric = "miou") -> Cell[Measured] | None:
        """The measured cell with exactly this key, if there is one."""
        wanted = (c for c in self.cells if (c.metric, c.key) == (metric, key) and c.measurements)
        return next(wanted, None)

    def values_of(self, name: str) -> list[Any]:
        """The distinct values that the keys of the measured cells give `name`, in order."""
        found = (cell.key[name] for cell in self.cells if name in cell.key and cell.measurements)
        return list(dict.fromkeys(found))

    @property
    def key_names(self) -> tuple[str, ...]:
        """The names in the keys of the cells, in order."""
        return tuple(dict.fromkeys(name for cell in self.cells for name in cell.key))

    @property
    def measurements(self) -> Iterator[Measured]:
        """Every measurement that the table needs, repetitions included."""
        for cell in self.cells:
            yield from cell.measurements
            yield from cell.minus

    def of(self, change: Callable[[Measured], Other]) -> "Table[Other]":
        """The table with each of its measurements changed."""
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
        )


def matcher_run(experiment: Experiment, **overrides: str | float) -> RunSpec:
    """The prototype matcher, which needs no training; overrides as of `unsupervised_run`."""
    return RunSpec("prototype", overrides=_changed(experiment, overrides))


def floor_run(experiment: Experiment) -> RunSpec:
    """The training-free floor: the matcher as everyone has it, on the features of the floor."""
    return replace(matcher_run(experiment, **PLAIN_MATCHER), features=floor_features(experiment))


def floor_features(experiment: Experiment) -> str:
    """The `features` of runs that read those of the floor: empty if they are the model's."""
    name = experiment.floor_features
    return "" if name == experiment.model.features else name


def floor_is_mirrored(experiment: Experiment) -> bool:
    """Whether the floor's features are the mean of an image's and of its mirror image's."""
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

    Overrides equal to the experiment's own model block are dropped, so that a cell at the
    default shares the default's run.

    Args:
        experiment: The experiment.
        pool: The unlabelled pool.
        fold: As of `RunSpec`.
        model: Meta-learner.
        features: As of `RunSpec`.
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
    return RunSpec(model, dataset, TaskSource.LABELS, fold, ratio=ratio, init=init, seed=seed)


def measure_folds(
    experiment: Experiment,
    run: RunSpec,
    dataset: str,
    shot: int,
    seeds: int,
    refine: tuple[str, ...] | None = None,
) -> tuple[Measurement, ...]:
    """Every fold tested with the same run, of every training seed; as of `measure_runs`."""
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
    """Every fold tested with a run of its own, of every training seed.

    Args:
        experiment: The experiment.
        runs: Fold -> its run, with the first training seed.
        dataset: Data set tested.
        shot: K.
        seeds: Episode seeds.
        refine: The steps that the scores go through; none: those of `evaluation.refine`.
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
    """Every fold tested with the run that its labels trained, of every training seed."""
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
    """A cell for each fold and one for the mean of the folds.

    Args:
        row: Row title.
        key: Key of the mean; the cell of a fold has also "fold".
        measured: Every fold, of every training seed.
        group: Group of the columns.
        paper: The paper's numbers, `folds` and `mean`, if it printed them.
        metric: As of `Cell`.
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
    """The paper's mean of four folds; none beside a mean of fewer."""
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
    """A table over the experiment's folds, with the experiment's own note after `note`.

    Args:
        experiment: The experiment.
        name: As of `Table`.
        title: As of `Table`.
        corner: As of `Table`.
        cells: The cells; rows have their order.
        columns: The columns, if not in the order of the cells.
        note: What the table itself has to say.
    """
    tested = sorted({m.dataset for cell in cells for m in cell.measurements})
    settings = {dataset: experiment.datasets[dataset] for dataset in tested}
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
    )
