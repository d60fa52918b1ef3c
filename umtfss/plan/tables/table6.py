"""Table 6: UMTFSS with no, some and all labels, for every K, beside competitors."""

from collections.abc import Iterator
from typing import Any

from umtfss.experiment.block import ALL_LABELS
from umtfss.experiment.models import MODELS, TRAINING_FREE
from umtfss.experiment.schema import Experiment
from umtfss.experiment.tables import Table6Config
from umtfss.plan.cells import (
    Cell,
    Column,
    Key,
    Table,
    build_table,
    fold_cells,
    measure_folds,
    measure_labelled,
    unsupervised_run,
)
from umtfss.plan.run import Measurement, RunSpec
from umtfss.plan.tables.claim import Cells, Claim, Ranking
from umtfss.plan.tables.method_notes import method_note
from umtfss.plan.tables.paper import paper_benchmark, paper_numbers
from umtfss.plan.tables.schedules import schedule_note

LEAST_RANKED = 4  # of fewer models, a rank correlation says next to nothing
COMPETITORS = ("PPNet", "PFENet", "RePRI", "HSNet", "CyCTR", "CATrans", "ASNet", "BAM")


def table6(experiment: Experiment, settings: Table6Config) -> Table[Measurement]:
    """Rows of quoted and of measured competitors, and of each ratio of UMTFSS, for each K.

    Keys: quoted (a competitor), or model and ratio (percent of the labels; a training-free model
    has none), dataset, shot, fold.
    """
    cells: list[Cell[Measurement]] = []
    for dataset, pool in settings.datasets.items():
        for shot in experiment.evaluation.shots:
            cells += _quoted(experiment, dataset, shot)
            for model in settings.models:
                cells += _competitor(experiment, dataset, pool, shot, model)
            for ratio in (0, *settings.ratios):
                cells += _umtfss(experiment, dataset, pool, shot, ratio)
    stages, trained = [], settings.listed_models
    for dataset, pool in settings.datasets.items():
        title = f"Training for {dataset} without labels"
        stages.append((title, "training", pool, [*trained, "umtfss"]))
        if trained:
            stages.append((f"Training for {dataset} from scratch", "supervised", dataset, trained))
        if settings.ratios:
            stages.append((f"Fine-tuning for {dataset}", "fine_tuning", dataset, ["umtfss"]))
    disagreeing = "; ".join(paper_numbers()["table6"]["printed_mean_disagrees"])
    note = (
        "Quoted rows are the paper's print, measured by others on the benchmark itself "
        "(PASCAL-5i, COCO-20i); they are no measurements of this experiment. Some printed means "
        f"are not those of their folds: {disagreeing}. {schedule_note(experiment, stages)} "
        f"{method_note(settings.models)}"
    ).strip()
    title = "Supervised few-shot segmentation and UMTFSS by the part of the labels that it reads."
    return build_table(experiment, "table6", title, "labels", cells, note=note)


def competitor_order(cells: Cells) -> Claim[Measurement]:
    """Table 6: the quoted means of competitors against the means that are measured here."""
    rankings = []
    for dataset in cells.values_of("table6", "dataset"):
        for shot in cells.values_of("table6", "shot"):
            for ratio in (0, ALL_LABELS):
                terms = tuple(_ranked(cells, dataset, shot, ratio))
                if len(terms) >= LEAST_RANKED:
                    name = f"{dataset} {shot}-shot, {ratio} %, {len(terms)} models"
                    rankings.append(Ranking(name, terms))
    return Claim(
        "competitor_order",
        "Competitors rank as Table 6 prints them.",
        "Spearman's rank correlation (-1 to 1) of measured means and printed means, which all "
        "labels gave, is positive. No backbone is tuned here, and all models have one protocol. An "
        "interval covers episodes and trainings, not the choice of models.",
        (),
        tuple(rankings),
    )


def _ranked(
    cells: Cells, dataset: str, shot: int, ratio: int
) -> Iterator[tuple[float, Cell[Measurement]]]:
    """The printed mean and the measured cell of every competitor that has both."""
    for model, title in MODELS.items():
        where: Key = {"dataset": dataset, "shot": shot}
        printed = cells.quoted("table6", quoted=title, **where)
        measured = cells.cell("table6", model=model, ratio=ratio, **where)
        if printed is not None and measured is not None:
            yield printed, measured


def _quoted(experiment: Experiment, dataset: str, shot: int) -> list[Cell[Measurement]]:
    """The competitors' numbers, quoted from the paper."""
    cells: list[Cell[Measurement]] = []
    for competitor in COMPETITORS:
        paper = _paper(experiment, dataset, shot, competitor)
        if not paper:
            continue
        row, group = f"{competitor}, 100 % (quoted)", f"{dataset} {shot}-shot"
        key: Key = {"quoted": competitor, "dataset": dataset, "shot": shot}
        for fold in experiment.tables.folds:
            column, number = Column(f"fold {fold}", group), paper["folds"][fold]
            cells.append(Cell(row, column, {**key, "fold": fold}, (), number))
        cells.append(Cell(row, Column("mean", group), key, (), paper["mean"]))
    return cells


def _competitor(
    experiment: Experiment, dataset: str, pool: str, shot: int, model: str
) -> Iterator[Cell[Measurement]]:
    """A competitor that is measured here: without labels and from scratch on all labels."""
    seeds, title = experiment.evaluation.seeds, MODELS[model]
    key: Key = {"model": model, "dataset": dataset, "shot": shot}
    group = f"{dataset} {shot}-shot"
    if model in TRAINING_FREE:
        measured = measure_folds(experiment, RunSpec(model), dataset, shot, seeds)
        yield from fold_cells(f"{title}, training-free", key, measured, group=group)
        return
    run = unsupervised_run(experiment, pool, model=model)
    measured = measure_folds(experiment, run, dataset, shot, seeds)
    yield from fold_cells(f"{title}, 0 %", {**key, "ratio": 0}, measured, group=group)
    measured = measure_labelled(experiment, dataset, model, ALL_LABELS, shot=shot, seeds=seeds)
    key = {**key, "ratio": ALL_LABELS}
    yield from fold_cells(f"{title}, {ALL_LABELS} %", key, measured, group=group)


def _umtfss(
    experiment: Experiment, dataset: str, pool: str, shot: int, ratio: int
) -> Iterator[Cell[Measurement]]:
    """UMTFSS with `ratio` % of the labels, from the unsupervised weights of a pool."""
    seeds = experiment.evaluation.seeds
    if ratio:
        measured = measure_labelled(
            experiment, dataset, "umtfss", ratio, init=pool, shot=shot, seeds=seeds
        )
    else:
        run = unsupervised_run(experiment, pool)
        measured = measure_folds(experiment, run, dataset, shot, seeds)
    return fold_cells(
        f"UMTFSS, {ratio} %",
        {"model": "umtfss", "ratio": ratio, "dataset": dataset, "shot": shot},
        measured,
        group=f"{dataset} {shot}-shot",
        paper=_paper(experiment, dataset, shot, f"UMTFSS_{ratio}"),
    )


def _paper(experiment: Experiment, dataset: str, shot: int, row: str) -> dict[str, Any]:
    """The paper's numbers, `folds` and `mean`; empty if the paper prints none."""
    printed = paper_numbers()["table6"]
    place = f"{paper_benchmark(experiment, dataset)}_{shot}shot"
    if place not in printed["columns"] or row not in printed:
        return {}
    *folds, mean = printed[row][printed["columns"].index(place)]
    return {"folds": folds, "mean": mean}
