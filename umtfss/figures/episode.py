"""One test episode as a picture, and many as a contact sheet.

Shapes: H W pixels.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from umtfss.figures.overlay import PREDICTED, TRUE, overlay
from umtfss.figures.picture import save_picture

SHEET_COLUMNS = 8


@dataclass(frozen=True)
class Prediction:
    """What one model finds in a query.

    Attributes:
        title: The model.
        mask: (H, W) bool.
        iou: Its IoU with the truth, in [0, 1].
    """

    title: str
    mask: np.ndarray
    iou: float


@dataclass(frozen=True)
class EpisodeView:
    """One episode with what models find in it.

    Attributes:
        title: Number and class.
        supports: Image (H, W, 3) uint8 and mask (H, W) uint8 in {0, 1, 255} of each shot.
        query: (H, W, 3) uint8.
        truth: (H, W) uint8 in {0, 1, 255}.
        predictions: One or more; the last is the model that is looked at.
    """

    title: str
    supports: tuple[tuple[np.ndarray, np.ndarray], ...]
    query: np.ndarray
    truth: np.ndarray
    predictions: tuple[Prediction, ...]


def draw_episode(view: EpisodeView, path: str | Path) -> None:
    """Draw an episode in one row: supports, query, truth, each prediction with its IoU.

    Args:
        view: The episode.
        path: Picture.
    """
    panels = [
        (f"support {shot}" if len(view.supports) > 1 else "support", overlay(image, mask, TRUE))
        for shot, (image, mask) in enumerate(view.supports, 1)
    ]
    panels += [("query", view.query), ("truth", overlay(view.query, view.truth, TRUE))]
    panels += [
        (f"{one.title}\nIoU {100 * one.iou:.1f} %", _predicted(view, one))
        for one in view.predictions
    ]
    tall = max(picture.shape[0] / picture.shape[1] for _, picture in panels)
    figure = Figure(figsize=(2.2 * len(panels), 0.9 + 2.2 * tall), layout="constrained")
    for axes, (title, picture) in zip(figure.subplots(1, len(panels)), panels, strict=True):
        _show(axes, picture, title)
    figure.suptitle(view.title, fontsize=10)
    save_picture(figure, path)


def draw_contact_sheet(views: Sequence[EpisodeView], title: str, path: str | Path) -> None:
    """Draw the queries of many episodes: the truth's outline, the prediction in colour, the IoU.

    Args:
        views: The episodes, in the order in which they are shown.
        title: What they have in common.
        path: Picture.
    """
    rows = ceil(len(views) / SHEET_COLUMNS)
    tall = max(view.query.shape[0] / view.query.shape[1] for view in views)
    size = (1.6 * SHEET_COLUMNS, 0.5 + rows * (0.3 + 1.6 * tall))
    figure = Figure(figsize=size, layout="constrained")
    grid = figure.subplots(rows, SHEET_COLUMNS, squeeze=False).ravel()
    for axes in grid[len(views) :]:
        axes.set_axis_off()
    for axes, view in zip(grid, views, strict=False):
        shown = view.predictions[-1]
        _show(axes, _predicted(view, shown), f"{view.title}: {100 * shown.iou:.0f} %")
        if (view.truth == 1).any():
            axes.contour(view.truth == 1, [0.5], colors=[TRUE], linewidths=0.8)
    figure.suptitle(title, fontsize=10)
    save_picture(figure, path)


def _predicted(view: EpisodeView, prediction: Prediction) -> np.ndarray:
    return overlay(view.query, prediction.mask.astype(np.uint8), PREDICTED)


def _show(axes: Axes, picture: np.ndarray, title: str) -> None:
    axes.imshow(picture)
    axes.set(xticks=[], yticks=[])
    axes.set_title(title, fontsize=8)
