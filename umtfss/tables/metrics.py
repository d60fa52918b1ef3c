"""What `dvc metrics` and `dvc plots` show: means of tables, training curves and pictures."""

import csv
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from umtfss.common.digests import digest_file, digest_json
from umtfss.common.files import atomic_path, write_json
from umtfss.common.manifests import write_manifest
from umtfss.plan.jobs.write_metrics import WriteMetrics

CURVES = {"loss": "Loss of every training", "iou": "IoU of every training on its own tasks"}


def write_metrics(
    job: WriteMetrics, metrics: str | Path, plots: str | Path, manifest: str | Path
) -> None:
    """Write the numbers as JSON, the `dvc.yaml` that declares curves and pictures, and a manifest.

    Args:
        job: What DVC shows.
        metrics: The JSON file.
        plots: The `dvc.yaml`; its paths are relative to its folder.
        manifest: The manifest of both.
    """
    write_json(metrics, {name: means(path) for name, path in job.tables.items()})
    text = yaml.safe_dump({"plots": declared_plots(job, Path(plots).parent)}, sort_keys=False)
    with atomic_path(plots) as temporary:
        temporary.write_text(text, encoding="utf-8")
    digest = digest_json([digest_file(metrics), digest_file(plots)])
    write_manifest(manifest, "metrics", digest, [Path(metrics), Path(plots)])


def means(table: str | Path) -> dict[str, dict[str, float]]:
    """Row title -> column title -> number, of the measured cells that are of no single fold.

    Args:
        table: CSV of a table.
    """
    found: dict[str, dict[str, float]] = {}
    with open(table, newline="", encoding="utf-8") as stream:
        for cell in csv.DictReader(stream):
            if cell["value"] and not cell.get("fold"):
                found.setdefault(cell["row"], {})[cell["column"]] = float(cell["value"])
    return found


def declared_plots(job: WriteMetrics, folder: Path) -> list[Mapping[str, Any]]:
    """The plots of a `dvc.yaml` in `folder`."""
    curves = [os.path.relpath(path, folder) for path in job.curves]
    plots: list[Mapping[str, Any]] = [
        {column: {"title": title, "x": "step", "y": dict.fromkeys(curves, column)}}
        for column, title in CURVES.items()
        if curves
    ]
    return [*plots, *({os.path.relpath(path, folder): None} for path in job.pictures)]
