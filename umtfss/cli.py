"""The command line beside Snakemake: what an experiment will do and cost."""

from typing import Annotated

import typer
import yaml
from rich.console import Console
from rich.table import Table

from umtfss.config import load_experiment
from umtfss.errors import UmtfssError
from umtfss.estimate import estimate
from umtfss.plan import Plan, table_names
from umtfss.provenance import PACKAGE_ROOT

app = typer.Typer(no_args_is_help=True, add_completion=False, help=__doc__)


@app.callback()
def main() -> None:
    """Label-efficient few-shot segmentation, as a pipeline. Snakemake runs it."""


@app.command()
def plan(
    experiment: Annotated[str, typer.Option(help="default: the one in config.yaml")] = "",
    table: Annotated[list[str] | None, typer.Option(help="only these, e.g. table4")] = None,
) -> None:
    """Print the distinct runs, how many cells share each, and the estimated cost."""
    console = Console(width=None)
    config = yaml.safe_load((PACKAGE_ROOT / "config.yaml").read_text())
    try:
        loaded = load_experiment(experiment or config["experiment"], config["seed"])
        chosen = Plan(loaded, table_names(table or []))
        costs = estimate(chosen)
    except UmtfssError as error:
        console.print(f"{type(error).__name__}: {error}", style="red", markup=False)
        raise typer.Exit(1) from None
    runs = Table("run", "cells", title=f"Runs of {chosen.experiment.name}", title_justify="left")
    for run, cells in chosen.sharing.items():
        runs.add_row(run.path, str(cells))
    console.print(runs)
    used = sum(cells for run, cells in chosen.sharing.items() if run.is_trained)
    console.print(
        f"{len(chosen.trained_runs)} trainings serve {used} uses in cells of "
        f"{', '.join(t.name for t in chosen.tables)}.\n"
    )
    rows = Table(
        "arrow", "jobs", "hours", "GB", title="Cost on this machine's CPU, rough",
        title_justify="left",
    )  # fmt: skip
    for cost in costs:
        rows.add_row(cost.arrow, str(cost.jobs), f"{cost.hours:.2f}", f"{cost.gigabytes:.2f}")
    hours, disk = sum(c.hours for c in costs), sum(c.gigabytes for c in costs)
    rows.add_row("all", str(sum(c.jobs for c in costs)), f"{hours:.2f}", f"{disk:.2f}")
    console.print(rows)
