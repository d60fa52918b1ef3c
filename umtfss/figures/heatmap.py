"""The heat map of Table 4."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from umtfss.figures.cells import read_cells
from umtfss.figures.picture import save_png_and_pdf

LEAST_SPAN = 5.0  # mIoU points from the darkest to the lightest colour


def table4_heatmap(table: str | Path, path: str | Path) -> None:
    """Draw the grid over the numbers of prototypes, ours beside the paper's.

    Args:
        table: `table4.csv`: one line per cell, with the keys k_bg and k_fg.
        path: The picture, `.png`; a PDF is written beside it.

    Raises:
        TableError: The file lacks a column.
    """
    cells = read_cells(table, ["k_bg", "k_fg"])
    ours, low, high, paper = (
        cells.pivot(index="k_bg", columns="k_fg", values=name)
        for name in ("value", "low", "high", "paper")
    )
    texts = [
        [f"{m:.1f}\n[{a:.1f}, {b:.1f}]" for m, a, b in zip(*three, strict=True)]
        for three in zip(ours.to_numpy(), low.to_numpy(), high.to_numpy(), strict=True)
    ]
    printed = [["" if np.isnan(m) else f"{m:.1f}" for m in row] for row in paper.to_numpy()]
    figure = Figure(
        figsize=(2.6 + 2.1 * ours.shape[1], 1.4 + 0.6 * ours.shape[0]), layout="constrained"
    )
    left, right = figure.subplots(1, 2)
    span = max(_span(ours), _span(paper), LEAST_SPAN)
    _heatmap(left, ours, texts, "ours", span)
    _heatmap(right, paper, printed, "paper", span)
    figure.suptitle(f"mIoU (%) by the numbers of prototypes; both scales span {span:.0f} points")
    save_png_and_pdf(figure, path)


def _span(grid: pd.DataFrame) -> float:
    """The largest number minus the smallest number; 0 without numbers."""
    values = grid.to_numpy(dtype=float)
    known = values[np.isfinite(values)]
    return float(np.ptp(known)) if known.size else 0.0


def _heatmap(
    axes: Axes, grid: pd.DataFrame, texts: Sequence[Sequence[str]], title: str, span: float
) -> None:
    """Draw one grid; colours span the range `span`, centred at the middle of the grid's numbers.

    With one span, a step of colour is the same difference in both grids. With a wide enough span,
    noise does not look like an effect.
    """
    values = grid.to_numpy(dtype=float)
    colours = matplotlib.colormaps["viridis"].with_extremes(bad="0.9")
    known = values[np.isfinite(values)]
    middle = (known.min() + known.max()) / 2 if known.size else 0.0
    low, high = middle - span / 2, middle + span / 2
    axes.imshow(np.ma.masked_invalid(values), cmap=colours, aspect="auto", vmin=low, vmax=high)
    for (row, column), value in np.ndenumerate(values):
        dark = value < middle - span / 20
        axes.text(
            column,
            row,
            texts[row][column],
            ha="center",
            va="center",
            fontsize=8,
            color="white" if dark else "black",
        )
    axes.set_xticks(range(values.shape[1]), [str(k) for k in grid.columns])
    axes.set_yticks(range(values.shape[0]), [str(k) for k in grid.index])
    axes.set(xlabel="$K_{fg}$", ylabel="$K_{bg}$", title=title)
