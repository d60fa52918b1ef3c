"""The job of the rule `write_metrics`."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from umtfss.plan.jobs.job import Job

if TYPE_CHECKING:
    from umtfss.plan.plan import Plan


@dataclass(frozen=True)
class WriteMetrics(Job):
    """Write what DVC shows of the experiment: numbers, curves and pictures.

    Attributes:
        tables: Name of a table -> its CSV.
        curves: The training curves, `log.csv` of every run.
        pictures: The pictures.
    """

    tables: dict[str, str]
    curves: tuple[str, ...]
    pictures: tuple[str, ...]

    @classmethod
    def of(cls, plan: "Plan", wildcards: Any) -> "WriteMetrics":
        """The job of the experiment with all of its tables."""
        return cls(
            {table.name: plan.paths.table_csv(table.name) for table in plan.runs.tables},
            tuple(plan.paths.training_log(run) for run in plan.runs.trained_runs),
            tuple(path for path in plan.figures if path.endswith(".png")),
        )
