"""Table 6: UMTFSS with no, some and all labels, for every K, beside quoted competitors."""

from typing import Any

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
from umtfss.plan.run import Measurement
from umtfss.plan.tables.paper import paper_benchmark, paper_numbers
from umtfss.plan.tables.schedules import schedule_note

COMPETITORS = ("PPNet", "PFENet", "RePRI", "HSNet", "CyCTR", "CATrans", "ASNet", "BAM")


def table6(experiment: Experiment, settings: Table6Config) -> Table[Measurement]:
    """A row for each competitor and each ratio of UMTFSS, per fold, for each data set and K.

    Keys: quoted (a competitor) or ratio (percent of the labels), dataset, shot, fold.
    """
    cells: list[Cell[Measurement]] = []
    for dataset, pool in settings.datasets.items():
        for shot in experiment.evaluation.shots:
            cells += _quoted(experiment, dataset, shot)
            for ratio in (0, *settings.ratios):
                cells += _measured(experiment, dataset, pool, shot, ratio)
    stages = []
    for dataset, pool in settings.datasets.items():
        stages.append((f"Training for {dataset} without labels", "training", pool, ["umtfss"]))
        if settings.ratios:
            stages.append((f"Fine-tuning for {dataset}", "fine_tuning", dataset, ["umtfss"]))
    disagreeing = "; ".join(paper_numbers()["table6"]["printed_mean_disagrees"])
    note = (
        "Quoted rows are the paper's print, measured by others on the benchmark itself "
        "(PASCAL-5i, COCO-20i); they are no measurements of this experiment. Some printed means "
        f"are not those of their folds: {disagreeing}. {schedule_note(experiment, stages)}"
    )
    title = "Supervised few-shot segmentation and UMTFSS by the part of the labels that it reads."
    return build_table(experiment, "table6", title, "labels", cells, note=note)


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


def _measured(
    experiment: Experiment, dataset: str, pool: str, shot: int, ratio: int
) -> list[Cell[Measurement]]:
    """UMTFSS with `ratio` % of the labels, from the unsupervised weights of a pool."""
    seeds = experiment.evaluation.seeds
    if ratio:
        measured = measure_labelled(
            experiment, dataset, "umtfss", ratio, init=pool, shot=shot, seeds=seeds
        )
    else:
        run = unsupervised_run(experiment, pool)
        measured = measure_folds(experiment, run, dataset, shot, seeds)
    return list(
        fold_cells(
            f"UMTFSS, {ratio} %",
            {"ratio": ratio, "dataset": dataset, "shot": shot},
            measured,
            group=f"{dataset} {shot}-shot",
            paper=_paper(experiment, dataset, shot, f"UMTFSS_{ratio}"),
        )
    )


def _paper(experiment: Experiment, dataset: str, shot: int, row: str) -> dict[str, Any]:
    """The paper's numbers, `folds` and `mean`; empty if the paper prints none."""
    printed = paper_numbers()["table6"]
    place = f"{paper_benchmark(experiment, dataset)}_{shot}shot"
    if place not in printed["columns"] or row not in printed:
        return {}
    *folds, mean = printed[row][printed["columns"].index(place)]
    return {"folds": folds, "mean": mean}
