"""The curves of Table 2."""

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from umtfss.figures.cells import read_cells
from umtfss.figures.overlay import OBJECT_COLOURS
from umtfss.figures.picture import save_png_and_pdf

SHIFT = 0.4  # percent, between neighbouring curves, so that intervals do not cover each other


def label_ratio_curves(table: str | Path, path: str | Path, headline: str | Path | None) -> None:
    """Draw mIoU over the label ratio: a colour for each model, a line for each start, the floor.

    Args:
        table: `table2.csv`: one line per cell, with the keys model, start and ratio.
        path: The picture, `.png`; a PDF is written beside it.
        headline: `headline.csv` of the same data set, which has the floor; None: no floor.

    Raises:
        TableError: A file lacks a column.
    """
    cells = read_cells(table, ["model", "start", "ratio"])
    models = list(dict.fromkeys(cells["model"]))
    lines = list(cells.groupby(["model", "start"], sort=False))
    figure = Figure(figsize=(9.0, 4.2), layout="constrained")
    axes = figure.subplots()
    for number, ((model, start), line) in enumerate(lines):
        (title,) = set(line["row"])
        line = line.sort_values("ratio")
        scratch = start == "scratch"
        axes.errorbar(
            line["ratio"] + SHIFT * (number - (len(lines) - 1) / 2),
            line["value"],
            yerr=[line["value"] - line["low"], line["high"] - line["value"]],
            color=OBJECT_COLOURS[models.index(model) % len(OBJECT_COLOURS)],
            linestyle="--" if scratch else "-",
            marker="s" if scratch else "o",
            markerfacecolor="white" if scratch else None,
            markersize=5,
            capsize=2,
            linewidth=1.4,
            label=title,
        )
    if headline is not None:
        _draw_floor(axes, headline)
    ratios = np.unique(cells["ratio"])
    axes.set_xticks(ratios, [f"{ratio}" for ratio in ratios])
    axes.set(xlabel="labelled images (%)", ylabel="mIoU (%), 1-shot, mean of the folds")
    axes.grid(axis="y", alpha=0.3)
    axes.legend(fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5))
    save_png_and_pdf(figure, path)


def _draw_floor(axes: Axes, headline: str | Path) -> None:
    """A level line, as the floor reads no label, and its interval."""
    cells = read_cells(headline, ["model", "shot", "fold"])
    chosen = (cells["model"] == "floor") & (cells["shot"] == 1) & cells["fold"].isna()
    for value, low, high in cells.loc[chosen, ["value", "low", "high"]].to_numpy(float):
        axes.axhline(value, color="black", linestyle=":", label="floor (training-free)")
        axes.axhspan(low, high, color="black", alpha=0.1, linewidth=0)
