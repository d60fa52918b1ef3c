"""The command line beside Snakemake: the cost of an experiment, and predictions of its models."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryFile
from typing import Annotated

import typer
import yaml
from rich.console import Console
from rich.table import Table

from umtfss.common.errors import DataError, UmtfssError
from umtfss.common.files import PACKAGE_ROOT
from umtfss.experiment.load import load_experiment
from umtfss.plan.cells import matcher_run
from umtfss.plan.cost import cheaper_features, estimate, training_features, warnings
from umtfss.plan.plan import Plan, table_names
from umtfss.plan.run import RunSpec

RunOption = Annotated[
    str,
    typer.Option(
        help="a path that `plan` prints, or `prototype` (training-free, of every experiment); "
        "default: the trained run that most cells share"
    ),
]

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
    with _errors_as_text():
        chosen = _plan(experiment, table_names(table or []))
        costs, lacking = estimate(chosen), warnings(chosen)
        ways = training_features(chosen)
    runs = Table("run", "cells", title=f"Runs of {chosen.experiment.name}", title_justify="left")
    for run, cells in chosen.runs.sharing.items():
        runs.add_row(run.path, str(cells))
    console.print(runs)
    shared = Table(
        "table", "cells", "trainings", "alone", "saved", title="Trainings that cells share",
        title_justify="left",
    )  # fmt: skip
    if chosen.runs.tables:
        for row in sharing_rows(chosen):
            shared.add_row(*map(str, row))
        console.print(shared)
    rows = Table(
        "arrow", "jobs", "hours", "GB", title="Cost on this machine's CPU, rough",
        title_justify="left",
    )  # fmt: skip
    for cost in costs:
        rows.add_row(cost.arrow, str(cost.jobs), f"{cost.hours:.2f}", f"{cost.gigabytes:.2f}")
    hours, disk = sum(c.hours for c in costs), sum(c.gigabytes for c in costs)
    rows.add_row("all", str(sum(c.jobs for c in costs)), f"{hours:.2f}", f"{disk:.2f}")
    console.print(rows)
    features = Table(
        "features", "images", "hours", "GB", title="Features of trainings, either way",
        title_justify="left",
    )  # fmt: skip
    for way in ways:
        features.add_row(way.way, str(way.images), f"{way.hours:.2f}", f"{way.gigabytes:.2f}")
    console.print(features)
    for line in (cheaper_features(chosen, ways), *lacking):
        console.print(f"Note: {line}.", soft_wrap=True, markup=False, highlight=False)


@app.command()
def predict(
    queries: Annotated[list[Path], typer.Argument(help="photos to segment, or folders of them")],
    support_image: Annotated[
        list[Path], typer.Option(help="a photo that shows the object; repeat it for more shots")
    ],
    support_mask: Annotated[
        list[Path], typer.Option(help="its mask: black background; one per --support-image")
    ],
    out: Annotated[Path, typer.Option(help="folder of the results")] = Path("predictions"),
    experiment: Annotated[str, typer.Option(help="default: the one in config.yaml")] = "",
    run: RunOption = "",
    mask_value: Annotated[
        int | None,
        typer.Option(help="the object's value in the masks; default: all that is not black"),
    ] = None,
) -> None:
    """Segment your own photos, given K photos of the object with their masks."""
    from umtfss.common.device import prepare_process
    from umtfss.predict import find_queries, output_paths, segment, write_prediction

    console = Console(soft_wrap=True)
    with _errors_as_text():
        if len(support_image) != len(support_mask):
            raise DataError(
                "support photos and masks do not go together",
                expected="as many --support-mask as --support-image, in the same order",
                found=f"{len(support_image)} photos and {len(support_mask)} masks",
                fix="add what is missing",
            )
        chosen = _plan(experiment)
        spec = _run_named(run, chosen)
        supports = list(zip(support_image, support_mask, strict=True))
        found = find_queries(queries, out, supports)
        try:
            out.mkdir(parents=True, exist_ok=True)
            with TemporaryFile(dir=out):  # fail before the computation
                pass
        except OSError as error:
            raise DataError(
                f"nothing can be written to {out} ({error.strerror})", fix="give another --out"
            ) from error
        console.print(f"{len(support_image)}-shot, {spec.path} of {chosen.experiment.name}")
        masks = segment(
            chosen,
            spec,
            supports,
            [query.path for query in found],
            value=mask_value,
            device=prepare_process(os.cpu_count() or 1),
        )
        for query, mask in zip(found, masks, strict=True):
            write_prediction(mask, query, out)
            line = f"{output_paths(out, query)[0]}: {100 * mask.mean():.1f} % object"
            console.print(line, markup=False, highlight=False)


@app.command()
def show(
    fold: Annotated[int, typer.Option(help="fold tested")],
    episode: Annotated[int | None, typer.Option(min=0, help="number of the episode")] = None,
    all_episodes: Annotated[
        bool, typer.Option("--all", help="the best and the worst episodes, in place of one")
    ] = False,
    seed: Annotated[int, typer.Option(min=0, help="episode seed")] = 0,
    shots: Annotated[int, typer.Option(min=1, help="supports of an episode")] = 1,
    dataset: Annotated[str, typer.Option(help="default: the first that tables test it on")] = "",
    count: Annotated[int, typer.Option(min=1, help="episodes that --all shows at most")] = 48,
    run: RunOption = "",
    experiment: Annotated[str, typer.Option(help="default: the one in config.yaml")] = "",
    out: Annotated[Path, typer.Option(help="picture, .png or .pdf")] = Path("show.png"),
) -> None:
    """Draw test episodes: supports, query, truth, predictions, and their IoU."""
    from umtfss.common.device import prepare_process
    from umtfss.evaluation.weights import check_weights
    from umtfss.figures.show import default_dataset, show_episode, show_extremes
    from umtfss.figures.tested import EpisodeSet

    if all_episodes == (episode is not None):
        raise typer.BadParameter("give either --episode NUMBER or --all")
    if out.suffix not in (".png", ".pdf"):
        raise typer.BadParameter(f"--out is {out}: name a file that ends in .png or .pdf")
    with _errors_as_text():
        chosen = _plan(experiment)
        spec = _run_named(run, chosen)
        check_weights(chosen, spec)
        tested = EpisodeSet(dataset or default_dataset(chosen, spec), shots, fold, seed)
        device = prepare_process(os.cpu_count() or 1)
        if episode is None:
            show_extremes(chosen, spec, tested, count, out, device)
        else:
            show_episode(chosen, spec, tested, episode, out, device)
    Console(soft_wrap=True).print(str(out), markup=False, highlight=False)


def sharing_rows(chosen: Plan) -> list[tuple[str, int, int, int, int]]:
    """Rows (table, cells, trainings, trainings without sharing, saved trainings), and a total.

    The total counts a training once, however many tables need it.
    """
    rows: list[tuple[str, int, int, int, int]] = []
    for table in chosen.runs.tables:
        behind: list[set[RunSpec]] = [
            {m.run for m in cell.measurements if m.run.is_trained} for cell in table.cells
        ]
        runs: set[RunSpec] = set().union(*behind)
        alone = sum(map(len, behind))
        rows.append((table.name, len(table.cells), len(runs), alone, alone - len(runs)))
    cells, alone = sum(row[1] for row in rows), sum(row[3] for row in rows)
    count = len(chosen.runs.trained_runs)
    return [*rows, ("all", cells, count, alone, alone - count)]


def _run_named(name: str, chosen: Plan) -> RunSpec:
    if name == "prototype":
        return matcher_run(chosen.experiment)
    return chosen.runs.run_at(name) if name else chosen.runs.main_run


def _plan(experiment: str, tables: list[str] | None = None) -> Plan:
    config = yaml.safe_load((PACKAGE_ROOT / "config.yaml").read_text())
    return Plan(load_experiment(experiment or config["experiment"], config["seed"]), tables or ())


@contextmanager
def _errors_as_text() -> Iterator[None]:
    """Print a user's error without a call stack, and exit with status 1."""
    try:
        yield
    except UmtfssError as error:
        Console(stderr=True, soft_wrap=True).print(
            f"{type(error).__name__}: {error}", style="red", markup=False, highlight=False
        )
        raise typer.Exit(1) from None
