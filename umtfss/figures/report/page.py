"""The page of the report: tables, claims, curves, classes, pictures, costs and settings."""

import csv
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from PIL import Image

from umtfss.common.files import atomic_path
from umtfss.common.manifests import read_sealed
from umtfss.evaluation.miou import summarise
from umtfss.evaluation.results import load_result
from umtfss.figures.cells import read_cells
from umtfss.figures.episode_pictures import data_uri, read_pictures
from umtfss.plan.jobs.write_report import ReportTable, WriteReport

CURVE_SIZE = (240, 90)  # of a training curve, px


@dataclass(frozen=True)
class ReportFiles:
    """The files that a report shows.

    Attributes:
        settings: The experiment's settings with all defaults.
        claims: The ledger of claims, JSON; empty: not all tables were requested.
        figures: Pictures.
        episodes: The pictures of test episodes; empty: no trained run is tested.
        results: Result file of the main run, 1-shot; empty: no trained run is tested.
        floor: Result file of the training-free floor on the same episodes; empty: not tested.
        rules: The picture of the experiment's rules, SVG.
    """

    settings: Sequence[str]
    claims: Sequence[str]
    figures: Sequence[str]
    episodes: Sequence[str]
    results: Sequence[str]
    floor: Sequence[str]
    rules: Sequence[str]


def write_report(job: WriteReport, files: ReportFiles, path: str | Path) -> None:
    """Write the report as one HTML file that loads nothing from elsewhere.

    Args:
        job: What the report says.
        files: What the report shows.
        path: The page.

    Raises:
        TableError: A table lacks a column.
        StoreError: A file is missing or broken.
    """
    environment = Environment(
        loader=PackageLoader("umtfss.figures.report", "."),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    shown = [read_pictures(one) for one in files.episodes]
    names = shown[0]["class_names"] if shown else {}
    text = environment.get_template("report.html.jinja").render(
        job=job,
        tables=[table_of(one) for one in job.tables],
        claims=[claim for one in files.claims for claim in _read_claims(one)],
        classes=[
            row
            for result in files.results
            for row in class_rows(result, next(iter(files.floor), None), names)
        ],
        episodes=[episode for one in shown for episode in one["episodes"]],
        figures={_title(one): data_uri(Image.open(one)) for one in files.figures},
        curves={run: training_curve(one) for run, one in job.curves.items()},
        costs=costs(job.benchmarks),
        rules=[_text(one) for one in files.rules],
        versions=_versions(files.results),
        settings="".join(map(_text, files.settings)),
    )
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def table_of(table: ReportTable) -> dict[str, Any]:
    """A table as the template shows it: titles, (text, interval, paper's number) of cells, notes.

    Raises:
        TableError: The CSV lacks a column.
    """
    cells = read_cells(table.path, ["trainings", "collapsed"])
    rows: dict[str, dict[str, tuple[str, str, str]]] = {}
    for cell in cells.to_dict("records"):
        rows.setdefault(str(cell["row"]), {})[str(cell["column"])] = (
            "" if pd.isna(cell["value"]) else f"{cell['value']:.1f}",
            "" if pd.isna(cell["value"]) else f"{cell['low']:.1f} to {cell['high']:.1f}",
            "" if pd.isna(cell["paper"]) else f"{cell['paper']:.1f}",
        )
    measured = cells.dropna(subset=["value"])
    fullest = max(rows.values(), key=len)  # a row that lacks a column does not know its place
    columns = list(dict.fromkeys([*fullest, *cells["column"].astype(str)]))
    return {
        "title": table.title,
        "corner": table.corner,
        "columns": columns,
        "rows": {row: [found.get(column) for column in columns] for row, found in rows.items()},
        "collapsed": set(measured[measured["collapsed"] == 1]["row"].astype(str)),
        "trainings": int(measured["trainings"].max()) if len(measured) else 0,
        "notes": table_notes(table.notes),
    }


def table_notes(path: str | Path) -> str:
    """The notes of a table: the last paragraph of its Markdown, as plain text."""
    return re.sub(r"\\([\\|<>*`])", r"\1", _text(path).strip().rpartition("\n\n")[2])


def class_rows(
    result: str | Path, floor: str | Path | None, names: Mapping[str, str]
) -> list[tuple[int, str, float, float | None]]:
    """Fold, class, IoU of the run and IoU of the floor, percent, of every tested class.

    Args:
        result: Result file of the run.
        floor: Result file of the floor; None: not tested.
        names: Class id -> name.
    """
    of_floor = {} if floor is None else _class_ious(floor)
    return [
        (fold, names.get(str(label), str(label)), iou, of_floor.get((fold, label)))
        for (fold, label), iou in _class_ious(result).items()
    ]


def _class_ious(result: str | Path) -> dict[tuple[int, int], float]:
    """(fold, class id) -> IoU over the episodes of all seeds, percent."""
    return {
        (fold, label): 100 * iou
        for fold, found in sorted(load_result(result).folds.items())
        for label, iou in summarise(found.pooled()).class_iou.items()
    }


def training_curve(path: str | Path) -> dict[str, Any]:
    """The IoU of a training on its own tasks as points of an SVG line, and its last numbers.

    Args:
        path: `log.csv` of the training.
    """
    log = pd.read_csv(path)
    width, height = CURVE_SIZE
    last = max(float(log["step"].max()), 1.0)
    points = " ".join(
        f"{width * step / last:.1f},{height * (1 - iou):.1f}"
        for step, iou in zip(log["step"], log["iou"], strict=True)
    )
    return {
        "points": points,
        "steps": int(last),
        "iou": 100 * float(log["iou"].iloc[-1]),
        "loss": float(log["loss"].iloc[-1]),
    }


def costs(folder: str | Path) -> list[tuple[str, int, float, float]]:
    """Arrow, jobs, hours of all jobs one after another, and the largest memory of a job in MB.

    Only jobs that have run in this folder count: Snakemake writes a file for each.

    Args:
        folder: Folder of Snakemake's benchmark files; a sub-folder for every arrow.
    """
    rows = []
    for arrow in sorted(path for path in Path(folder).glob("*") if path.is_dir()):
        jobs = []
        for path in arrow.rglob("*.tsv"):
            with open(path, newline="", encoding="utf-8") as stream:
                jobs += list(csv.DictReader(stream, delimiter="\t"))
        seconds = sum(float(one["s"]) for one in jobs)
        memory = [float(one["max_rss"]) for one in jobs if one["max_rss"] not in ("NA", "-")]
        rows.append((arrow.name, len(jobs), seconds / 3600, max(memory, default=0.0)))
    return rows


def _read_claims(path: str | Path) -> list[dict[str, Any]]:
    ledger = read_sealed(path, "the ledger of claims", {"kind": "claims"})
    claims: list[dict[str, Any]] = ledger["claims"]
    return claims


def _text(path: str | Path) -> str:
    return Path(path).read_text(encoding="utf-8")


def _versions(results: Sequence[str]) -> dict[str, str]:
    return {
        name: str(version)
        for one in results
        for name, version in load_result(one).facts["versions"].items()
    }


def _title(path: str | Path) -> str:
    return Path(path).stem.replace("_", " ").replace("-", ": ", 1)
