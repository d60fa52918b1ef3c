"""The curves of Table 2."""

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from umtfss.figures.cells import read_cells
from umtfss.figures.picture import save_picture


def label_ratio_curves(table: str | Path, path: str | Path) -> None:
    """Draw mIoU over the label ratio: a colour for each model, a line for each start.

    Ratios are evenly spaced. A logarithmic axis would space 5, 10, 20 and 100 % similarly, but has
    no 0 %. Models are drawn side by side, so that their intervals do not cover each other.

    Args:
        table: `table2.csv`: one line per cell, with the keys model, start and ratio.
        path: Picture.

    Raises:
        TableError: The file lacks a column.
    """
    cells = read_cells(table, ["model", "start", "ratio"])
    ratios, models = sorted(set(cells["ratio"])), list(dict.fromkeys(cells["model"]))
    lines = list(cells.groupby(["model", "start"], sort=False))
    figure = Figure(figsize=(7.0, 4.2), layout="constrained")
    axes = figure.subplots()
    for number, ((model, start), line) in enumerate(lines):
        (title,) = set(line["row"])
        line = line.set_index("ratio").reindex(ratios)
        scratch = start == "scratch"
        place = np.arange(len(ratios)) + 0.05 * (number - (len(lines) - 1) / 2)
        axes.errorbar(
            place,
            line["value"],
            yerr=[line["value"] - line["low"], line["high"] - line["value"]],
            color=f"C{models.index(model)}",
            linestyle="--" if scratch else "-",
            marker="s" if scratch else "o",
            markerfacecolor="white" if scratch else None,
            markersize=5,
            capsize=2,
            linewidth=1.4,
            label=title,
        )
    axes.set_xticks(range(len(ratios)), [f"{ratio} %" for ratio in ratios])
    axes.set(xlabel="labelled images", ylabel="mIoU (%), 1-shot, mean of the folds")
    axes.grid(axis="y", alpha=0.3)
    axes.legend(fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5))
    save_picture(figure, path)
