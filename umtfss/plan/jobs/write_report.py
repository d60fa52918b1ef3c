"""The job of the rule `write_report`."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from umtfss.plan.jobs.job import Job

if TYPE_CHECKING:
    from umtfss.plan.plan import Plan


@dataclass(frozen=True)
class ReportTable:
    """A table of the report.

    Attributes:
        title: Caption, one sentence.
        corner: Title of the column of row titles.
        path: The table's CSV.
        notes: The table's Markdown, which ends with its notes.
    """

    title: str
    corner: str
    path: str
    notes: str


@dataclass(frozen=True)
class WriteReport(Job):
    """Write the report of the experiment.

    Attributes:
        experiment: Name of the experiment.
        description: Its description.
        coverage: Coverage of the intervals, e.g. 0.95.
        development: The tested splits other than the official test split.
        tables: The tables.
        run: Path of the main run; empty: the experiment tests no trained run.
        curves: Path of a run -> its training curve, a CSV.
        benchmarks: Folder where Snakemake writes the time and memory of every job.
    """

    experiment: str
    description: str
    coverage: float
    development: tuple[str, ...]
    tables: tuple[ReportTable, ...]
    run: str
    curves: dict[str, str]
    benchmarks: str

    @classmethod
    def of(cls, plan: "Plan", wildcards: Any) -> "WriteReport":
        """The job of the experiment with the requested tables."""
        experiment, paths, tables = plan.experiment, plan.paths, plan.runs.tables
        return cls(
            experiment.name,
            experiment.description,
            experiment.evaluation.interval,
            tuple(sorted({split for table in tables for split in table.development})),
            tuple(
                ReportTable(
                    *(table.title, table.corner),
                    *(paths.table_csv(table.name), paths.table_markdown(table.name)),
                )
                for table in tables
            ),
            plan.runs.main_run.path if plan.has_panel else "",
            {run.path: paths.training_log(run) for run in plan.runs.trained_runs},
            f"{paths.root}/benchmarks",
        )
