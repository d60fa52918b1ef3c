"""Table 1: meta-training with all labels of base classes against no labels, 1-shot."""

from umtfss.experiment.block import ALL_LABELS
from umtfss.experiment.models import MODELS
from umtfss.experiment.schema import Experiment
from umtfss.experiment.tables import Table1Config
from umtfss.plan.cells import (
    Cell,
    Column,
    Table,
    build_table,
    measure_folds,
    measure_labelled,
    of_all_folds,
    unsupervised_run,
)
from umtfss.plan.run import Measurement
from umtfss.plan.tables.claim import Cells, Claim, Comparison, difference
from umtfss.plan.tables.headline import matcher_cell
from umtfss.plan.tables.paper import paper_numbers
from umtfss.plan.tables.schedules import schedule_note


def table1(experiment: Experiment, settings: Table1Config) -> Table[Measurement]:
    """Means of the folds: a row for each source of tasks, a column for each model.

    Keys: tasks ("sup", "unsup"), model.
    """
    printed, seeds = paper_numbers()["table1"], experiment.evaluation.seeds
    dataset, pool = settings.dataset, settings.pool
    cells = []
    for tasks in settings.rows:
        paper = dict(zip(printed["columns"], printed[tasks], strict=True))
        for model in settings.models:
            if tasks == "sup":
                measured = measure_labelled(experiment, dataset, model, ALL_LABELS, seeds=seeds)
            else:
                run = unsupervised_run(experiment, pool, model=model)
                measured = measure_folds(experiment, run, dataset, 1, seeds)
            title = MODELS[model]
            number = of_all_folds(paper.get(title), measured)
            key = {"tasks": tasks, "model": model}
            cells.append(Cell(tasks, Column(title), key, measured, number))
    stages = [
        ("Training without labels", "training", pool, settings.models),
        ("Training with labels", "supervised", dataset, settings.models),
    ]
    return build_table(
        experiment,
        "table1",
        f"Supervised and unsupervised meta-training, 1-shot, tested on {dataset}.",
        "variant",
        cells,
        note=f"The paper tests on PASCAL-5i. {schedule_note(experiment, stages)}",
    )


def unsupervised(cells: Cells) -> Claim[Measurement]:
    """Each model without labels against the training-free matcher."""
    comparisons: list[Comparison[Measurement]] = []
    for model in cells.models_of("table1"):
        one = cells.cell("table1", tasks="unsup", model=model)
        other = matcher_cell(cells, shot=1)
        comparisons += difference(f"{MODELS[model]} minus matcher", one, other)
    return Claim(
        "unsupervised",
        "Unsupervised meta-training works with existing models.",
        "Without labels, each model beats the training-free matcher on the features it sees.",
        tuple(comparisons),
    )
