"""The paper's tables as data: which runs each cell needs, and the paper's number beside it.

A cell is a set of measurements; its value is their mean. Nothing here reads a result.
"""

from collections.abc import Callable
from functools import cache
from importlib.resources import files
from typing import Any

import yaml

from umtfss.experiment.block import ALL_LABELS
from umtfss.experiment.models import MASKSPLIT, MODELS
from umtfss.experiment.schema import Experiment
from umtfss.plan.cells import (
    Cell,
    Table,
    build_table,
    fold_cells,
    fold_columns,
    measure_folds,
    measure_labelled,
    measure_runs,
    of_all_folds,
    unsupervised_run,
)
from umtfss.plan.run import RunSpec
from umtfss.plan.tables.departures import departures
from umtfss.plan.tables.schedules import schedule_note
from umtfss.plan.tables.zero_labels import ablation, headline

COMPETITORS = ("PPNet", "PFENet", "RePRI", "HSNet", "CyCTR", "CATrans", "ASNet", "BAM")
QUOTED = " (quoted)"
CLASS_MEANS = " (class means)"


@cache
def paper_numbers() -> dict[str, Any]:
    """The numbers printed in the paper's Tables 1-6, in percent."""
    return yaml.safe_load((files("umtfss.plan.tables") / "paper.yaml").read_text())


def all_tables(experiment: Experiment) -> tuple[Table, ...]:
    """Every table that the experiment fills."""
    tables = experiment.tables
    present: list[tuple[Any, Callable[[Experiment], Table]]] = [
        (tables.headline, headline),
        (tables.table1, table1),
        (tables.table2, table2),
        (tables.table3, table3),
        (tables.table4, table4),
        (tables.table5, table5),
        (tables.table6, table6),
        (tables.ablation, ablation),
        (tables.departures, departures),
    ]
    return tuple(build(experiment) for settings, build in present if settings is not None)


def _benchmark(experiment: Experiment, dataset: str) -> str:
    """The paper's benchmark that a data set's numbers stand beside."""
    return "coco" if experiment.datasets[dataset].kind == "coco" else "pascal"


def table1(experiment: Experiment) -> Table:
    """Table 1: meta-training with all labels of the base classes against none, 1-shot, mean."""
    settings, seeds = experiment.tables.table1, experiment.evaluation.seeds
    assert settings is not None
    printed, cells = paper_numbers()["table1"], []
    for row in settings.rows:
        paper = dict(zip(printed["columns"], printed[row], strict=True))
        for model in settings.models:
            run = unsupervised_run(experiment, settings.pool, model=model)
            measured = measure_folds(experiment, run, settings.dataset, 1, seeds)
            if row == "sup":
                measured = measure_labelled(
                    experiment, settings.dataset, model, ALL_LABELS, seeds=seeds
                )
            number = of_all_folds(paper.get(MODELS[model]), measured)
            cells.append(Cell(row, MODELS[model], measured, number))
    columns = tuple(MODELS[model] for model in settings.models)
    title = f"Supervised and unsupervised meta-training, 1-shot, tested on {settings.dataset}."
    stages = [
        ("Training without labels", "training", settings.pool, settings.models),
        ("Training with labels", "supervised", settings.dataset, settings.models),
    ]
    note = f"The paper tests on PASCAL-5i. {schedule_note(experiment, stages)}"
    rows = tuple(settings.rows)
    return build_table(experiment, "table1", title, "variant", rows, columns, cells, note)


def table2(experiment: Experiment) -> Table:
    """Table 2: meta-training on a part of the labels, from scratch and from unsupervised weights.

    The column 0 % is the unsupervised model itself, which the paper has in its Table 1.
    """
    settings, seeds = experiment.tables.table2, experiment.tables.ablation_seeds
    assert settings is not None
    printed, cells, rows = paper_numbers()["table2"], [], []
    for model in settings.models:
        for start, init in (("scratch", ""), ("unsup_init", settings.pool)):
            row = start_row(MODELS[model], start)
            rows.append(row)
            if init:
                run = unsupervised_run(experiment, settings.pool, model=model)
                cells.append(
                    Cell(row, "0 %", measure_folds(experiment, run, settings.dataset, 1, seeds))
                )
            numbers = printed.get(MODELS[model], {}).get(start, [])
            paper = dict(zip(printed["ratios"], numbers, strict=False))
            for ratio in settings.ratios:
                measured = measure_labelled(
                    experiment, settings.dataset, model, ratio, init=init, seeds=seeds
                )
                number = of_all_folds(paper.get(ratio), measured)
                cells.append(Cell(row, f"{ratio} %", measured, number))
    columns = ("0 %", *(f"{ratio} %" for ratio in settings.ratios))
    title = f"Meta-training on a part of the labels, 1-shot, tested on {settings.dataset}."
    stages = [
        ("Training without labels", "training", settings.pool, settings.models),
        ("Training from scratch", "supervised", settings.dataset, settings.models),
        ("Fine-tuning", "fine_tuning", settings.dataset, settings.models),
    ]
    notes = [*printed["notes"], schedule_note(experiment, stages)]
    note = " ".join(["The paper tests on PASCAL-5i.", *notes])
    return build_table(
        experiment, "table2", title, "labelled images", tuple(rows), columns, cells, note
    )


def start_row(title: str, start: str) -> str:
    """The row of Table 2 of a model and where its weights start: "scratch" or "unsup_init"."""
    return f"{title}, {'scratch' if start == 'scratch' else 'unsup. init'}"


def table3(experiment: Experiment) -> Table:
    """Table 3: vanilla against prototype-aware cross-attention, unsupervised, 1-shot."""
    settings = experiment.tables.table3
    assert settings is not None
    rows = {"vanilla cross-att.": "vanilla", "prototype cross-att.": "prototype"}
    columns = fold_columns(experiment)
    cells: list[Cell] = []
    for row, kind in rows.items():
        run = unsupervised_run(experiment, settings.pool, cross_attention=kind)
        measured = measure_folds(
            experiment, run, settings.dataset, 1, experiment.tables.ablation_seeds
        )
        paper = paper_numbers()["table3"][f"{kind}_cross_attention"]
        cells += fold_cells(row, columns, measured, paper)
    title = f"Vanilla against prototype-aware cross-attention, 1-shot, on {settings.dataset}."
    return build_table(
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
            measured = measure_folds(
                experiment, run, settings.dataset, 1, experiment.tables.ablation_seeds
            )
            paper = None
            if k_fg in printed["k_fg"] and k_bg in printed["k_bg"]:
                paper = printed["miou"][printed["k_bg"].index(k_bg)][printed["k_fg"].index(k_fg)]
            cells.append(Cell(str(k_bg), str(k_fg), measured, of_all_folds(paper, measured)))
    title = f"Numbers of prototypes (columns K_fg, rows K_bg), 1-shot, on {settings.dataset}."
    return build_table(
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
    """Table 5: trained on the fold's images or on all, unsupervised, 1-shot, beside MaskSplit.

    MaskSplit's own evaluation, the mean over classes of their episodes' mean IoU, is a second row
    of each model, so that its numbers can be compared with those of its paper.
    """
    settings, seeds = experiment.tables.table5, experiment.evaluation.seeds
    assert settings is not None
    models = (MASKSPLIT, "umtfss") if settings.masksplit else ("umtfss",)
    cells: list[Cell] = []
    columns: list[str] = []
    for dataset, pool in settings.datasets.items():
        names = fold_columns(experiment, f"{dataset} ")
        columns += names
        printed = paper_numbers()["table5"][_benchmark(experiment, dataset)]
        for setting in settings.settings:
            for model in models:
                runs = {
                    f: _unlabelled(experiment, pool, model, setting, f)
                    for f in experiment.tables.folds
                }
                measured = measure_runs(experiment, runs, dataset, 1, seeds)
                row, paper = f"{setting}: {MODELS[model]}", printed[setting].get(MODELS[model], {})
                cells += fold_cells(row, names, measured, paper)
                if settings.masksplit:
                    row += CLASS_MEANS
                    cells += fold_cells(row, names, measured, {}, "class_means")
    title = "Unsupervised few-shot segmentation, 1-shot: trained on the fold's images, or on all."
    rows = tuple(dict.fromkeys(cell.row for cell in cells))
    note = "The paper tests on PASCAL-5i and COCO-20i."
    if experiment.features.diffusion is not None:
        note = "Features are diffused over the whole pool in every setting. " + note
    if settings.masksplit:
        note = (
            "Class means: the mean over classes of the mean IoU of a class's episodes, which "
            "MaskSplit reports. " + note
        )
    return build_table(experiment, "table5", title, "setting", rows, tuple(columns), cells, note)


def _unlabelled(experiment: Experiment, pool: str, model: str, setting: str, fold: int) -> RunSpec:
    """A run of Table 5; MaskSplit has tasks of its own."""
    images = "all" if setting == "all" else f"fold{fold}"
    if model == MASKSPLIT:
        return RunSpec(model, pool, "saliency", images, seed=experiment.seed)
    return unsupervised_run(experiment, pool, images)


def table6(experiment: Experiment) -> Table:
    """Table 6: UMTFSS with 0 % to 100 % of the labels, every shot, beside quoted competitors."""
    settings, seeds = experiment.tables.table6, experiment.evaluation.seeds
    assert settings is not None
    printed = paper_numbers()["table6"]
    cells: list[Cell] = []
    columns: list[str] = []
    for dataset, pool in settings.datasets.items():
        benchmark = _benchmark(experiment, dataset)
        for shot in experiment.evaluation.shots:
            names = fold_columns(experiment, f"{dataset} {shot}-shot ")
            columns += names
            place = f"{benchmark}_{shot}shot"
            known = place in printed["columns"]
            place_at = printed["columns"].index(place) if known else -1

            def paper(row: str, at: int = place_at) -> dict[str, Any]:
                if at < 0 or row not in printed:
                    return {}
                *folds, mean = printed[row][at]
                return {"folds": folds, "mean": mean}

            for competitor in COMPETITORS:
                numbers = paper(competitor)
                if numbers:
                    row = f"{competitor}, 100 %{QUOTED}"
                    folds = [numbers["folds"][f] for f in experiment.tables.folds]
                    for column, number in zip(names, [*folds, numbers["mean"]], strict=True):
                        cells.append(Cell(row, column, (), number))
            for ratio in (0, *settings.ratios):
                run = unsupervised_run(experiment, pool)
                measured = measure_folds(experiment, run, dataset, shot, seeds)
                if ratio:
                    measured = measure_labelled(
                        experiment, dataset, "umtfss", ratio, init=pool, shot=shot, seeds=seeds
                    )
                row = f"UMTFSS, {ratio} %"
                cells += fold_cells(row, names, measured, paper(f"UMTFSS_{ratio}"))
    title = "Supervised few-shot segmentation and UMTFSS by the part of the labels that it reads."
    rows = tuple(dict.fromkeys(cell.row for cell in cells))
    stages = []
    for dataset, pool in settings.datasets.items():
        stages.append((f"Training for {dataset} without labels", "training", pool, ["umtfss"]))
        if settings.ratios:
            stages.append((f"Fine-tuning for {dataset}", "fine_tuning", dataset, ["umtfss"]))
    note = (
        "Quoted rows are the paper's print, measured by others on the benchmark itself "
        "(PASCAL-5i, COCO-20i); they are no measurements of this experiment. Some printed means "
        f"are not those of their folds: {'; '.join(printed['printed_mean_disagrees'])}. "
        f"{schedule_note(experiment, stages)}"
    )
    return build_table(experiment, "table6", title, "labels", rows, tuple(columns), cells, note)
