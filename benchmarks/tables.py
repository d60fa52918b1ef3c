"""The CSV files of studies."""

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path

import typer

from umtfss.common.files import atomic_path


def write_rows(path: Path, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write a table, which is whole or absent, and print each row as it comes.

    Args:
        path: The CSV file.
        columns: Its first line.
        rows: The other lines; they may be measured while they are written.
    """
    with atomic_path(path) as partial, open(partial, "w", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(columns)
        for row in rows:
            writer.writerow(row)
            typer.echo(", ".join(map(str, row)))
