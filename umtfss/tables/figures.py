"""Pictures of results: the curves of Table 2, the heat map of Table 4, a panel of predictions.

Shapes: H W pixels.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.ndimage import binary_erosion

from umtfss.data.images import IGNORE
from umtfss.errors import TableError
from umtfss.provenance import atomic_path

PREDICTED, TRUE = (1.0, 0.15, 0.2), (0.15, 0.85, 0.3)
LEAST_SPAN = 5.0  # mIoU points from the darkest to the lightest colour
DPI = 150


@dataclass(frozen=True)
class PanelItem:
    """One episode of the panel.

    Attributes:
        title: E.g. the class.
        support_image: (H, W, 3) uint8.
        support_mask: (H, W) uint8 in {0, 1, 255}.
        query_image: (H, W, 3) uint8.
        query_mask: (H, W) uint8 in {0, 1, 255}.
        prediction: (H, W) bool.
    """

    title: str
    support_image: np.ndarray
    support_mask: np.ndarray
    query_image: np.ndarray
    query_mask: np.ndarray
    prediction: np.ndarray

    @property
    def iou(self) -> float:
        """The prediction's IoU, label 255 ignored; 0 if nothing is predicted and nothing true."""
        used = self.query_mask != IGNORE
        true, predicted = (self.query_mask == 1)[used], self.prediction[used]
        return float((true & predicted).sum() / max(1, (true | predicted).sum()))


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


def label_ratio_curves(table: str | Path, path: str | Path) -> None:
    """Draw mIoU over the label ratio: a colour for each model, a line for each start.

    Ratios are evenly spaced, as 5, 10, 20 and 100 % are nearly so on a logarithmic axis, which
    has no 0 %. Models are drawn side by side, so that their intervals do not cover each other.

    Args:
        table: `table2.csv`: a line per cell, rows "model, start", columns "ratio %".
        path: Picture.

    Raises:
        TableError: The file lacks a column.
    """
    cells = _read_cells(table)
    ratios = sorted(set(cells["column"]), key=lambda title: int(title.split()[0]))
    rows = list(dict.fromkeys(cells["row"]))
    models = list(dict.fromkeys(row.split(", ")[0] for row in rows))
    figure = Figure(figsize=(7.0, 4.2), layout="constrained")
    axes = figure.subplots()
    for number, row in enumerate(rows):
        model, start = row.split(", ")
        line = cells[cells["row"] == row].set_index("column").reindex(ratios)
        scratch = start == "scratch"
        place = np.arange(len(ratios)) + 0.05 * (number - (len(rows) - 1) / 2)
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
            label=row,
        )
    axes.set_xticks(range(len(ratios)), ratios)
    axes.set(xlabel="labelled images", ylabel="mIoU (%), 1-shot, mean of the folds")
    axes.grid(axis="y", alpha=0.3)
    axes.legend(fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5))
    _save(figure, path)


def table4_heatmap(table: str | Path, path: str | Path) -> None:
    """Draw the grid of prototype numbers, ours and the paper's side by side.

    Args:
        table: `table4.csv`: a line per cell, rows K_bg, columns K_fg.
        path: Picture.

    Raises:
        TableError: The file lacks a column.
    """
    cells = _read_cells(table)
    ours, low, high, paper = (
        cells.pivot(index="row", columns="column", values=name)
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
    _save(figure, path)


def _span(grid: pd.DataFrame) -> float:
    """The distance of the greatest and the smallest number, 0 if there is none."""
    values = grid.to_numpy(dtype=float)
    known = values[np.isfinite(values)]
    return float(np.ptp(known)) if known.size else 0.0


def _heatmap(
    axes: Axes, grid: pd.DataFrame, texts: Sequence[Sequence[str]], title: str, span: float
) -> None:
    """Draw one grid, in colours that span `span` about the middle of its numbers.

    A step of colour is the same difference in both grids, and noise does not look like an effect.
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


def qualitative_panel(items: Sequence[PanelItem], path: str | Path) -> None:
    """Draw episodes as columns: support and mask, query and true mask, query and prediction.

    Args:
        items: At least one episode.
        path: Picture.
    """
    shapes = [image.shape for item in items for image in (item.support_image, item.query_image)]
    tall = min(1.5, max(height / width for height, width, _ in shapes))
    figure = Figure(figsize=(0.4 + 1.9 * len(items), 0.7 + 5.7 * tall), layout="constrained")
    axes = figure.subplots(3, len(items), squeeze=False)
    for column, item in enumerate(items):
        rows = (
            (item.support_image, item.support_mask, TRUE),
            (item.query_image, item.query_mask, TRUE),
            (item.query_image, item.prediction.astype(np.uint8), PREDICTED),
        )
        for row, (image, mask, colour) in enumerate(rows):
            axes[row, column].imshow(overlay(image, mask, colour))
            axes[row, column].set(xticks=[], yticks=[])
        axes[0, column].set_title(item.title, fontsize=9)
        axes[2, column].set_xlabel(f"IoU {100 * item.iou:.0f} %", fontsize=9)
    for row, name in enumerate(("support", "query, true mask", "prediction")):
        axes[row, 0].set_ylabel(name)
    _save(figure, path)


def overlay(image: np.ndarray, mask: np.ndarray, colour: tuple[float, float, float]) -> np.ndarray:
    """The image in grey, its foreground in its own colours with a border, (H, W, 3) in [0, 1].

    Grey and not a tint alone: a tint is lost on what has its colour. Ignored pixels are grey too.
    """
    foreground = mask == 1
    picture = image.astype(np.float32) / 255
    grey = picture.mean(2, keepdims=True)
    picture = np.where(foreground[..., None], 0.75 * picture, 0.15 + 0.55 * grey)
    picture[foreground] += 0.25 * np.array(colour, np.float32)
    width = max(1, round(max(mask.shape) / 150))  # visible in a small print of a large photo
    inner = binary_erosion(foreground, iterations=width, border_value=1)
    picture[foreground & ~inner] = colour
    return picture


def _save(figure: Figure, path: str | Path) -> None:
    """Write the picture atomically, without the time, so that equal pictures are equal files."""
    with atomic_path(path) as temporary:
        metadata = {"Software": None} if Path(path).suffix == ".png" else None
        figure.savefig(temporary, dpi=DPI, metadata=metadata)
