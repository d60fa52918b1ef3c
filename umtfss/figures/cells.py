"""The cells of a written table, and pictures on disk."""

from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from umtfss.common.errors import TableError
from umtfss.common.files import atomic_path

DPI = 150


def _read_cells(table: str | Path) -> pd.DataFrame:
    """The cells of a table's CSV, one a row.

    Raises:
        TableError: The file lacks a column.
    """
    cells = pd.read_csv(table)
    lacking = {"row", "column", "value", "low", "high", "paper"} - set(cells.columns)
    if lacking:
        raise TableError(
            f"{table} lacks the columns {sorted(lacking)}",
            found=list(cells.columns),
            fix="run snakemake --cores all all_tables",
        )
    return cells


def _save(figure: Figure, path: str | Path) -> None:
    """Write the picture atomically, without the time, so that equal pictures are equal files."""
    with atomic_path(path) as temporary:
        metadata = {"Software": None} if Path(path).suffix == ".png" else None
        figure.savefig(temporary, dpi=DPI, metadata=metadata)
