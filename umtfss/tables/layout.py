"""The paper's tables as data: which runs each cell needs, and the paper's number beside it.

A cell is a set of measurements; its value is their mean. Nothing here reads a result.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

import yaml

from umtfss.config import Experiment, ModelConfig
from umtfss.runs import Measurement, RunSpec

FLOOR = RunSpec(model="prototype")


@dataclass(frozen=True)
class Cell:
    """A printed number: the mean over its measurements, beside the paper's number.

    Attributes:
        row: Row title.
        column: Column title.
        measurements: What is averaged: one for a single fold, one per fold for a mean.
        paper: The paper's number in percent, if it printed one.
    """

    row: str
    column: str
    measurements: tuple[Measurement, ...]
    paper: float | None = None


@dataclass(frozen=True)
class Table:
    """A table: titles, and a cell for every pair of titles that has a number.

    Attributes:
        name: "headline" or "table1" .. "table6"; the stem of its files.
        title: Caption, one sentence.
        corner: Title of the column of row titles.
        rows: Row titles in order.
        columns: Column titles in order.
        cells: The cells; a pair of titles without one prints a dash.
        folds: The folds that a mean covers; fewer than four are said in the caption.
        note: Printed under the table.
    """

    name: str
    title: str
    corner: str
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    cells: tuple[Cell, ...]
    folds: tuple[int, ...]
    note: str

    @property
    def measurements(self) -> Iterator[Measurement]:
        """Every measurement that the table needs, repetitions included."""
        for cell in self.cells:
            yield from cell.measurements


@cache
def paper_numbers() -> dict[str, Any]:
    """The numbers printed in the paper's Tables 1-6, in percent."""
    return yaml.safe_load((files("umtfss.tables") / "paper.yaml").read_text())


def unsupervised_run(
    experiment: Experiment, pool: str, fold: str = "all", **overrides: str | int
) -> RunSpec:
    """UMTFSS meta-trained on pseudo-tasks of `pool`.

    Overrides equal to the experiment's own model block are dropped, so that a cell at the
    default shares the default's run.
    """
    model = experiment.model
    changed = {k: v for k, v in overrides.items() if getattr(model, k) != v}
    ModelConfig.model_validate({**model.model_dump(), **changed})
    return RunSpec("umtfss", pool, "unsup", fold, tuple(sorted(changed.items())), experiment.seed)


def all_tables(experiment: Experiment) -> tuple[Table, ...]:
    """Every table that the experiment fills."""
    tables = experiment.tables
    present: list[tuple[Any, Callable[[Experiment], Table]]] = [
        (tables.headline, headline),
        (tables.table1, table1),
        (tables.table3, table3),
        (tables.table4, table4),
        (tables.table5, table5),
    ]
    return tuple(build(experiment) for settings, build in present if settings is not None)


def _folds(
    experiment: Experiment, run: RunSpec, dataset: str, shot: int, seeds: int
) -> tuple[Measurement, ...]:
    return tuple(Measurement(run, dataset, f, shot, seeds) for f in experiment.tables.folds)


def _fold_columns(experiment: Experiment, prefix: str = "") -> tuple[str, ...]:
    return (*(f"{prefix}fold {f}" for f in experiment.tables.folds), f"{prefix}mean")


def _fold_cells(
    row: str, columns: tuple[str, ...], measured: tuple[Measurement, ...], paper: dict[str, Any]
) -> Iterator[Cell]:
    """A cell for each fold and one for the mean; `paper` has `folds` and `mean`, or is empty."""
    for column, one in zip(columns, measured, strict=False):
        number = paper["folds"][one.fold] if paper else None
        yield Cell(row, column, (one,), number)
    yield Cell(row, columns[-1], measured, paper.get("mean"))


def _build(
    experiment: Experiment,
    name: str,
    title: str,
    corner: str,
    rows: tuple[str, ...],
    columns: tuple[str, ...],
    cells: list[Cell],
    note: str = "",
) -> Table:
    notes = " ".join(part for part in (note, experiment.tables.note) if part)
    folds = tuple(experiment.tables.folds)
    return Table(name, title, corner, rows, columns, tuple(cells), folds, notes)


def headline(experiment: Experiment) -> Table:
    """The training-free floor against UMTFSS without labels, per fold, for every shot."""
    settings, shots = experiment.tables.headline, experiment.evaluation.shots
    assert settings is not None
    runs = {
        "prototype matcher (training-free)": FLOOR,
        "UMTFSS (unsupervised)": unsupervised_run(experiment, settings.pool),
    }
    cells: list[Cell] = []
    columns: list[str] = []
    for shot in shots:
        names = _fold_columns(experiment, f"{shot}-shot ")
        columns += names
        for row, run in runs.items():
            measured = _folds(experiment, run, settings.dataset, shot, experiment.evaluation.seeds)
            cells += _fold_cells(row, names, measured, {})
    title = f"Zero labels on {settings.dataset}: the training-free floor and UMTFSS."
    return _build(experiment, "headline", title, "model", tuple(runs), tuple(columns), cells)


def table1(experiment: Experiment) -> Table:
    """Table 1, column UMTFSS: unsupervised meta-training, 1-shot, mean of the folds."""
    settings = experiment.tables.table1
    assert settings is not None
    run = unsupervised_run(experiment, settings.pool)
    measured = _folds(experiment, run, settings.dataset, 1, experiment.evaluation.seeds)
    paper = dict(
        zip(paper_numbers()["table1"]["columns"], paper_numbers()["table1"]["unsup"], strict=True)
    )
    cells = [Cell("unsup", "UMTFSS", measured, paper["UMTFSS"])]
    title = f"Unsupervised meta-training, 1-shot, tested on {settings.dataset}."
    return _build(
        experiment,
        "table1",
        title,
        "variant",
        ("unsup",),
        ("UMTFSS",),
        cells,
        "The paper tests on PASCAL-5i.",
    )


def table3(experiment: Experiment) -> Table:
    """Table 3: vanilla against prototype-aware cross-attention, unsupervised, 1-shot."""
    settings = experiment.tables.table3
    assert settings is not None
    rows = {"vanilla cross-att.": "vanilla", "prototype cross-att.": "prototype"}
    columns = _fold_columns(experiment)
    cells: list[Cell] = []
    for row, kind in rows.items():
        run = unsupervised_run(experiment, settings.pool, cross_attention=kind)
        measured = _folds(experiment, run, settings.dataset, 1, experiment.tables.ablation_seeds)
        paper = paper_numbers()["table3"][f"{kind}_cross_attention"]
        cells += _fold_cells(row, columns, measured, paper)
    title = f"Vanilla against prototype-aware cross-attention, 1-shot, on {settings.dataset}."
    return _build(
        experiment,
        "table3",
        title,
        "variant",
        tuple(rows),
        columns,
        cells,
        "The paper tests on COCO-20i.",
    )


def table4(experiment: Experiment) -> Table:
    """Table 4: the grid of prototype numbers, unsupervised, 1-shot, mean of the folds."""
    settings = experiment.tables.table4
    assert settings is not None
    printed, cells = paper_numbers()["table4"], []
    for k_bg in settings.k_bg:
        for k_fg in settings.k_fg:
            run = unsupervised_run(experiment, settings.pool, k_fg=k_fg, k_bg=k_bg)
            measured = _folds(
                experiment, run, settings.dataset, 1, experiment.tables.ablation_seeds
            )
            paper = None
            if k_fg in printed["k_fg"] and k_bg in printed["k_bg"]:
                paper = printed["miou"][printed["k_bg"].index(k_bg)][printed["k_fg"].index(k_fg)]
            cells.append(Cell(str(k_bg), str(k_fg), measured, paper))
    title = f"Numbers of prototypes (columns K_fg, rows K_bg), 1-shot, on {settings.dataset}."
    return _build(
        experiment,
        "table4",
        title,
        "K_bg / K_fg",
        tuple(map(str, settings.k_bg)),
        tuple(map(str, settings.k_fg)),
        cells,
        "The paper tests on PASCAL-5i.",
    )


def table5(experiment: Experiment) -> Table:
    """Table 5, rows UMTFSS: trained on the fold's images or on all, unsupervised, 1-shot."""
    settings = experiment.tables.table5
    assert settings is not None
    seeds = experiment.evaluation.seeds
    cells: list[Cell] = []
    columns: list[str] = []
    for dataset, pool in settings.datasets.items():
        names = _fold_columns(experiment, f"{dataset} ")
        columns += names
        for setting in settings.settings:
            runs = {
                f: unsupervised_run(experiment, pool, "all" if setting == "all" else f"fold{f}")
                for f in experiment.tables.folds
            }
            measured = tuple(Measurement(run, dataset, f, 1, seeds) for f, run in runs.items())
            paper = paper_numbers()["table5"]["coco" if dataset == "coco" else "pascal"]
            cells += _fold_cells(f"{setting}: UMTFSS", names, measured, paper[setting]["UMTFSS"])
    title = "Unsupervised few-shot segmentation, 1-shot: trained on the fold's images, or on all."
    rows = tuple(f"{setting}: UMTFSS" for setting in settings.settings)
    note = "The paper tests on PASCAL-5i and COCO-20i."
    return _build(experiment, "table5", title, "setting", rows, tuple(columns), cells, note)
