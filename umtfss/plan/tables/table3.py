"""Table 3: vanilla against prototype-aware cross-attention, without labels, 1-shot."""

from umtfss.experiment.schema import Experiment
from umtfss.experiment.tables import TableConfig
from umtfss.plan.cells import Cell, Table, build_table, fold_cells, measure_folds, unsupervised_run
from umtfss.plan.run import Measurement
from umtfss.plan.tables.claim import Cells, Claim, difference
from umtfss.plan.tables.paper import paper_numbers


def table3(experiment: Experiment, settings: TableConfig) -> Table[Measurement]:
    """A row for each kind of cross-attention, per fold.

    Keys: cross_attention ("vanilla", "prototype"), fold.
    """
    cells: list[Cell[Measurement]] = []
    for kind in ("vanilla", "prototype"):
        run = unsupervised_run(experiment, settings.pool, cross_attention=kind)
        measured = measure_folds(
            experiment, run, settings.dataset, 1, experiment.tables.ablation_seeds
        )
        paper = paper_numbers()["table3"][f"{kind}_cross_attention"]
        row, key = f"{kind} cross-att.", {"cross_attention": kind}
        cells += fold_cells(row, key, measured, paper=paper)
    return build_table(
        experiment,
        "table3",
        f"Vanilla against prototype-aware cross-attention, 1-shot, on {settings.dataset}.",
        "variant",
        cells,
        note="The paper tests on COCO-20i.",
    )


def prototype_attention(cells: Cells) -> Claim[Measurement]:
    """Prototype-aware against vanilla cross-attention."""
    one, other = (cells.cell("table3", cross_attention=kind) for kind in ("prototype", "vanilla"))
    return Claim(
        "prototype_attention",
        "Prototype-aware cross-attention is better than vanilla cross-attention.",
        "Meta-trained alike without labels, the prototype variant is better.",
        tuple(difference("prototype minus vanilla", one, other)),
    )
