"""The cells of a written table."""

from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from umtfss.common.errors import TableError


def read_cells(table: str | Path, keys: Iterable[str]) -> pd.DataFrame:
    """The cells of a table, one per line: titles, numbers in percent, and the columns of the key.

    Args:
        table: The table's CSV.
        keys: Required names in the cells' keys, e.g. "model".

    Raises:
        TableError: The file lacks a column.
    """
    cells = pd.read_csv(table)
    lacking = {"row", "column", "value", "low", "high", "paper", *keys} - set(cells.columns)
    if lacking:
        raise TableError(
            f"{table} lacks the columns {sorted(lacking)}",
            found=list(cells.columns),
            fix="run snakemake --cores all all_tables",
        )
    return cells
