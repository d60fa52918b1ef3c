"""Table 2: meta-training on a part of the labels, from scratch and from unsupervised weights."""

from umtfss.experiment.models import MODELS
from umtfss.experiment.schema import Experiment
from umtfss.experiment.tables import Table2Config
from umtfss.plan.cells import (
    Cell,
    Column,
    Key,
    Table,
    build_table,
    measure_folds,
    measure_labelled,
    of_all_folds,
    unsupervised_run,
)
from umtfss.plan.run import Measurement
from umtfss.plan.tables.claim import Cells, Claim, Comparison, difference
from umtfss.plan.tables.paper import paper_numbers
from umtfss.plan.tables.schedules import schedule_note

STARTS = {"scratch": "scratch", "unsup_init": "unsup. init"}  # where weights start -> title
FEW_LABELS = 20  # percent


def table2(experiment: Experiment, settings: Table2Config) -> Table[Measurement]:
    """Means of the folds, 1-shot: two rows for each model, a column for each ratio.

    The column 0 % is the unsupervised model, which the paper prints in Table 1.
    Keys: model, start ("scratch", "unsup_init"), ratio (percent of the labels).
    """
    printed, seeds = paper_numbers()["table2"], experiment.tables.ablation_seeds
    dataset, pool = settings.dataset, settings.pool
    cells: list[Cell[Measurement]] = []

    def add(key: dict[str, str | int], measured: tuple[Measurement, ...]) -> None:
        title = MODELS[str(key["model"])]
        row, column = f"{title}, {STARTS[str(key['start'])]}", Column(f"{key['ratio']} %")
        numbers = printed.get(title, {}).get(key["start"], [])
        paper = dict(zip(printed["ratios"], numbers, strict=False)).get(key["ratio"])
        cells.append(Cell(row, column, key, measured, of_all_folds(paper, measured)))

    for model in settings.models:
        for start in STARTS:
            init = "" if start == "scratch" else pool
            if init:
                run = unsupervised_run(experiment, pool, model=model)
                measured = measure_folds(experiment, run, dataset, 1, seeds)
                add({"model": model, "start": start, "ratio": 0}, measured)
            for ratio in settings.ratios:
                measured = measure_labelled(
                    experiment, dataset, model, ratio, init=init, seeds=seeds
                )
                add({"model": model, "start": start, "ratio": ratio}, measured)
    stages = [
        ("Training without labels", "training", pool, settings.models),
        ("Training from scratch", "supervised", dataset, settings.models),
        ("Fine-tuning", "fine_tuning", dataset, settings.models),
    ]
    notes = ("The paper tests on PASCAL-5i.", *printed["notes"], schedule_note(experiment, stages))
    return build_table(
        experiment,
        "table2",
        f"Meta-training on a part of the labels, 1-shot, tested on {dataset}.",
        "labelled images",
        cells,
        columns=tuple(Column(f"{ratio} %") for ratio in (0, *settings.ratios)),
        note=" ".join(notes),
    )


def fine_tuning(cells: Cells) -> Claim[Measurement]:
    """Training from unsupervised weights against training from scratch, per model and ratio."""
    comparisons: list[Comparison[Measurement]] = []
    for model in cells.models_of("table2"):
        for ratio in sorted(cells.values_of("table2", "ratio")):
            key: Key = {"model": model, "ratio": ratio}
            one = cells.cell("table2", start="unsup_init", **key)
            other = cells.cell("table2", start="scratch", **key)
            comparisons += difference(f"{MODELS[model]}, {ratio} %", one, other)
    return Claim(
        "fine_tuning",
        "Fine-tuning from unsupervised weights beats training from scratch at every ratio.",
        "At each label ratio, each model is better from unsupervised weights.",
        tuple(comparisons),
    )


def few_labels(cells: Cells) -> Claim[Measurement]:
    """UMTFSS fine-tuned on few labels against each other model of Table 1 on all labels."""
    comparisons: list[Comparison[Measurement]] = []
    one = cells.cell("table2", model="umtfss", start="unsup_init", ratio=FEW_LABELS)
    for model in cells.models_of("table1"):
        if model != "umtfss":
            other = cells.cell("table1", tasks="sup", model=model)
            name = f"UMTFSS {FEW_LABELS} % minus {MODELS[model]} 100 %"
            comparisons += difference(name, one, other)
    return Claim(
        "few_labels",
        f"With {FEW_LABELS} % of the labels UMTFSS outperforms supervised competitors.",
        f"UMTFSS, fine-tuned on {FEW_LABELS} %, is better than each other model on 100 %.",
        tuple(comparisons),
    )


def labels(cells: Cells) -> Claim[Measurement]:
    """UMTFSS fine-tuned at the largest ratio against UMTFSS without labels."""
    comparisons: list[Comparison[Measurement]] = []
    most = max(cells.values_of("table2", "ratio"), default=0)
    one, other = (
        cells.cell("table2", model="umtfss", start="unsup_init", ratio=ratio) for ratio in (most, 0)
    )
    comparisons += difference(f"UMTFSS, {most} % minus 0 %", one, other)
    return Claim(
        "labels",
        "Labels are better than none.",
        "UMTFSS, fine-tuned on the most labels, is better than without labels.",
        tuple(comparisons),
    )
