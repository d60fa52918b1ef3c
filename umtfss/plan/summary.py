"""What `umtfss plan` prints: runs, what they share, and cost."""

from collections.abc import Iterator

from rich.table import Table

from umtfss.plan.cost import (
    cheaper_features,
    estimate,
    memory,
    tables_alone,
    training_features,
    warnings,
)
from umtfss.plan.plan import Plan
from umtfss.plan.rates import Rates
from umtfss.plan.run import RunSpec


def summary_tables(plan: Plan, rates: Rates) -> Iterator[Table]:
    """The tables of a plan.

    Args:
        plan: The plan.
        rates: Speed of the machine.
    """
    runs = _table("run", "cells", title=f"Runs of {plan.experiment.name}")
    for run, cells in plan.runs.sharing.items():
        runs.add_row(run.path, str(cells))
    yield runs
    if plan.runs.tables:
        shared = _table(
            "table", "cells", "trainings", "alone", "saved", title="Trainings that cells share"
        )
        for row in sharing_rows(plan):
            shared.add_row(*map(str, row))
        yield shared
    costs = list(estimate(plan, rates))
    rows = _table("arrow", "jobs", "hours", "GB", title=f"Cost on {rates.of}, rough")
    for cost in costs:
        rows.add_row(cost.arrow, str(cost.jobs), f"{cost.hours:.2f}", f"{cost.gigabytes:.2f}")
    hours, disk = sum(c.hours for c in costs), sum(c.gigabytes for c in costs)
    rows.add_row("all", str(sum(c.jobs for c in costs)), f"{hours:.2f}", f"{disk:.2f}")
    yield rows
    alone = tables_alone(plan, rates)
    if len(alone) > 1:
        single = _table("table", "hours", "GB", title="Cost of one table alone")
        for name, (hours, disk) in alone.items():
            single.add_row(name, f"{hours:.2f}", f"{disk:.2f}")
        yield single
    features = _table(
        "features", "images", "hours", "GB", title="Features of trainings, either way"
    )
    for way in training_features(plan, rates):
        features.add_row(way.way, str(way.images), f"{way.hours:.2f}", f"{way.gigabytes:.2f}")
    yield features


def summary_notes(plan: Plan, rates: Rates) -> Iterator[str]:
    """What a user should know before the first job, a sentence each, without a full stop.

    Args:
        plan: The plan.
        rates: Speed of the machine.
    """
    held = ", ".join(f"{arrow} {size:.0f} GB" for arrow, size in memory(plan).items())
    yield f"memory of the largest job, in fp32: {held}"
    yield cheaper_features(plan, training_features(plan, rates))
    yield from warnings(plan)


def sharing_rows(plan: Plan) -> list[tuple[str, int, int, int, int]]:
    """Rows (table, cells, trainings, trainings without sharing, saved trainings), and a total.

    The total counts a training once, however many tables need it.
    """
    rows: list[tuple[str, int, int, int, int]] = []
    for table in plan.runs.tables:
        behind: list[set[RunSpec]] = [
            {m.run for m in cell.measurements if m.run.is_trained} for cell in table.cells
        ]
        runs: set[RunSpec] = set().union(*behind)
        alone = sum(map(len, behind))
        rows.append((table.name, len(table.cells), len(runs), alone, alone - len(runs)))
    cells, alone = sum(row[1] for row in rows), sum(row[3] for row in rows)
    count = len(plan.runs.trained_runs)
    return [*rows, ("all", cells, count, alone, alone - count)]


def _table(*columns: str, title: str) -> Table:
    return Table(*columns, title=title, title_justify="left")
