"""Every table and every claim, in the order in which they are written.

A new table needs a file in this folder, a line here, and a block of settings in
`umtfss/experiment/tables.py`; `paper.yaml` holds the paper's numbers.
"""

from collections.abc import Callable, Iterable
from typing import Any

from umtfss.experiment.schema import Experiment
from umtfss.experiment.tables import TableBlock
from umtfss.plan.cells import Table
from umtfss.plan.run import Measurement
from umtfss.plan.tables import (
    ablation,
    departures,
    headline,
    table1,
    table2,
    table3,
    table4,
    table5,
    table6,
)
from umtfss.plan.tables.claim import Cells, Claim

# Name of a table, also of its block in `tables` -> function that builds it from this block.
TABLES: dict[str, Callable[[Experiment, Any], Table[Measurement]]] = {
    "headline": headline.headline,
    "table1": table1.table1,
    "table2": table2.table2,
    "table3": table3.table3,
    "table4": table4.table4,
    "table5": table5.table5,
    "table6": table6.table6,
    "ablation": ablation.ablation,
    "departures": departures.departures,
}

CLAIMS: tuple[Callable[[Cells], Claim[Measurement]], ...] = (
    table1.unsupervised,
    table2.fine_tuning,
    table2.few_labels,
    table3.prototype_attention,
    table4.more_prototypes,
    table4.saturation,
    table5.masksplit,
    headline.folds,
    headline.more_shots,
    table2.labels,
    table6.competitor_order,
)


def all_tables(experiment: Experiment) -> tuple[Table[Measurement], ...]:
    """Every table that the experiment fills."""
    filled = experiment.tables.filled.items()
    return tuple(TABLES[name](_trained(experiment, block), block) for name, block in filled)


def _trained(experiment: Experiment, block: TableBlock) -> Experiment:
    """The experiment with the table's own number of training seeds, if it has one."""
    if block.training_seeds is None:
        return experiment
    own = {"training_seeds": block.training_seeds}
    return experiment.model_copy(
        update={"evaluation": experiment.evaluation.model_copy(update=own)}
    )


def all_claims(tables: Iterable[Table[Measurement]]) -> tuple[Claim[Measurement], ...]:
    """The measured claims, over the tables that an experiment fills."""
    cells = Cells(tables)
    return tuple(claim(cells) for claim in CLAIMS)
