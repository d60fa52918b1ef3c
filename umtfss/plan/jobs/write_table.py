"""The job of the rule `write_table`."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from umtfss.plan.cells import FoldFile, Table
from umtfss.plan.jobs.job import Job

if TYPE_CHECKING:
    from umtfss.plan.plan import Plan


@dataclass(frozen=True)
class WriteTable(Job):
    """Write a table.

    Attributes:
        table: The table, with the evaluation files that its cells average.
        resamples: Number of bootstrap resamples.
        coverage: Coverage of the intervals, e.g. 0.95.
    """

    table: Table[FoldFile]
    resamples: int
    coverage: float

    @classmethod
    def of(cls, plan: "Plan", wildcards: Any) -> "WriteTable":
        """The job of the table `wildcards.table`."""
        table, settings = plan.runs.table_named(wildcards.table), plan.experiment.evaluation
        return cls(table.of(plan.runs.fold_file), settings.bootstrap, settings.interval)
