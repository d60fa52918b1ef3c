"""One test episode as a picture, and many as a contact sheet.

Shapes: H W pixels.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure

from umtfss.figures.overlay import PREDICTED, TRUE, framed, overlay
from umtfss.figures.picture import save_picture

SHEET_COLUMNS = 8
PANEL_INCHES, TILE_INCHES = 2.4, 1.6  # width of a picture in an episode and in a sheet


@dataclass(frozen=True)
class Prediction:
    """The prediction of one model in a query.

    Attributes:
        title: Name of the model.
        mask: (H, W) bool.
        iou: IoU of the mask with the truth, in [0, 1].
    """

    title: str
    mask: np.ndarray
    iou: float


@dataclass(frozen=True)
class EpisodeView:
    """One episode with the predictions of models.

    Attributes:
        number: Number of the episode among the test episodes of its fold and seed.
        class_name: Class of the episode.
        supports: Image (H, W, 3) uint8 and mask (H, W) uint8 in {0, 1, 255} of each shot.
        query: (H, W, 3) uint8.
        truth: (H, W) uint8 in {0, 1, 255}.
        predictions: One or more predictions; the last is by the model of interest.
    """

    number: int
    class_name: str
    supports: tuple[tuple[np.ndarray, np.ndarray], ...]
    query: np.ndarray
    truth: np.ndarray
    predictions: tuple[Prediction, ...]


def draw_episode(view: EpisodeView, title: str, path: str | Path) -> None:
    """Draw an episode: supports, query, truth, each prediction with its IoU.

    One support stands in the row of the query; several have a row of their own.

    Args:
        view: The episode.
        title: Title of the picture.
        path: Picture.
    """
    several = len(view.supports) > 1
    supports = [
        (f"support {shot}" if several else "support", overlay(image, mask, TRUE))
        for shot, (image, mask) in enumerate(view.supports, 1)
    ]
    found = [("query", view.query), ("query, true mask", overlay(view.query, view.truth, TRUE))]
    found += [
        (f"{one.title}: IoU {100 * one.iou:.1f} %", _predicted(view, one))
        for one in view.predictions
    ]
    rows = [supports, found] if several else [supports + found]
    columns = max(map(len, rows))
    tall = max(picture.shape[0] / picture.shape[1] for row in rows for _, picture in row)
    size = (PANEL_INCHES * columns, 0.5 + len(rows) * (0.3 + PANEL_INCHES * tall))
    figure = Figure(figsize=size, layout="constrained")
    grid = figure.subplots(len(rows), columns, squeeze=False)
    for places, row in zip(grid, rows, strict=True):
        _fill(places, row, tall)
    figure.suptitle(title, fontsize=9)
    save_picture(figure, path)


def draw_contact_sheet(
    sections: Mapping[str, Sequence[EpisodeView]], title: str, path: str | Path
) -> None:
    """Draw the queries of many episodes: the truth's outline, the prediction in colour, the IoU.

    Args:
        sections: Title of a section -> its episodes, one or more, in the order in which they are
            drawn.
        title: Title of the sheet.
        path: Picture.
    """
    rows = [ceil(len(views) / SHEET_COLUMNS) for views in sections.values()]
    queries = [view.query for views in sections.values() for view in views]
    tall = max(query.shape[0] / query.shape[1] for query in queries)
    heights = [0.4 + count * (0.3 + TILE_INCHES * tall) for count in rows]
    figure = Figure(figsize=(TILE_INCHES * SHEET_COLUMNS, 0.6 + sum(heights)), layout="constrained")
    parts = figure.subfigures(len(rows), 1, height_ratios=heights, squeeze=False)[:, 0]
    for part, count, (name, views) in zip(parts, rows, sections.items(), strict=True):
        _draw_section(part, count, name, views, tall)
    figure.suptitle(f"{title}\nblue outline: truth; in colour with an orange border: predicted")
    save_picture(figure, path)


def _draw_section(
    part: SubFigure, rows: int, title: str, views: Sequence[EpisodeView], tall: float
) -> None:
    places = list(part.subplots(rows, SHEET_COLUMNS, squeeze=False).flat)
    shown = [(view, view.predictions[-1]) for view in views]
    labels = [f"{view.number} {view.class_name}: {100 * one.iou:.0f} %" for view, one in shown]
    pictures = [_predicted(view, one) for view, one in shown]
    _fill(places, list(zip(labels, pictures, strict=True)), tall)
    for axes, view in zip(places, views, strict=False):
        truth = framed((view.truth == 1).astype(float), tall, 0.0)
        if truth.any():
            axes.contour(truth, [0.5], colors=[TRUE], linewidths=0.8)
    part.suptitle(title, fontsize=10)


def _predicted(view: EpisodeView, prediction: Prediction) -> np.ndarray:
    return overlay(view.query, prediction.mask.astype(np.uint8), PREDICTED)


def _fill(
    places: Sequence[Axes] | np.ndarray, pictures: Sequence[tuple[str, np.ndarray]], tall: float
) -> None:
    """Show titled pictures of one shape, one per place; remaining places stay empty."""
    for axes in places[len(pictures) :]:
        axes.set_axis_off()
    for axes, (title, picture) in zip(places, pictures, strict=False):
        if picture.dtype == np.uint8:  # a photo, beside overlays in [0, 1]
            picture = picture / 255
        axes.imshow(framed(picture, tall))
        axes.set(xticks=[], yticks=[])
        axes.set_title(title, fontsize=8)
