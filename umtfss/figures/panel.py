"""A panel of episodes: supports, query, truth, and predictions of the floor and of a model.

Shapes: H W pixels.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure, SubFigure

from umtfss.figures.overlay import PREDICTED, TRUE, framed, overlay
from umtfss.figures.picture import save_png_and_pdf
from umtfss.figures.predicted import iou_of

ROWS = ("support", "query, truth", "floor", "model")
COLUMNS = 4  # the panel is readable on a phone
TILE_INCHES = 1.9  # width of one picture
FONT_SIZE = 13


@dataclass(frozen=True)
class PanelItem:
    """One episode of the panel.

    Attributes:
        title: Title, e.g. the class.
        support_image: (H, W, 3) uint8.
        support_mask: (H, W) uint8 in {0, 1, 255}.
        query_image: (H, W, 3) uint8.
        query_mask: (H, W) uint8 in {0, 1, 255}.
        floor: (H, W) bool, the prediction of the training-free floor.
        prediction: (H, W) bool, the prediction of the model.
    """

    title: str
    support_image: np.ndarray
    support_mask: np.ndarray
    query_image: np.ndarray
    query_mask: np.ndarray
    floor: np.ndarray
    prediction: np.ndarray


def qualitative_panel(items: Sequence[PanelItem], path: str | Path) -> None:
    """Draw episodes as columns: support and mask, query and true mask, query and predictions.

    Args:
        items: At least one episode; every `COLUMNS` of them start a new block of rows.
        path: The picture, `.png`; a PDF is written beside it.
    """
    shapes = [image.shape for item in items for image in (item.support_image, item.query_image)]
    tall = max(height / width for height, width, _ in shapes)
    columns = min(COLUMNS, len(items))
    blocks = [items[start : start + columns] for start in range(0, len(items), columns)]
    block_inches = 1.0 + len(ROWS) * TILE_INCHES * tall
    figure = Figure(
        figsize=(0.4 + TILE_INCHES * columns, block_inches * len(blocks)), layout="constrained"
    )
    parts = figure.subfigures(len(blocks), 1, squeeze=False)[:, 0]
    for part, block in zip(parts, blocks, strict=True):
        _draw_block(part, block, columns, tall)
    save_png_and_pdf(figure, path)


def _draw_block(part: SubFigure, items: Sequence[PanelItem], columns: int, tall: float) -> None:
    axes = part.subplots(len(ROWS), columns, squeeze=False)
    for unused in axes[:, len(items) :].flat:
        unused.set_axis_off()
    for column, item in enumerate(items):
        rows = (
            (item.support_image, item.support_mask, TRUE),
            (item.query_image, item.query_mask, TRUE),
            (item.query_image, item.floor.astype(np.uint8), PREDICTED),
            (item.query_image, item.prediction.astype(np.uint8), PREDICTED),
        )
        for row, (image, mask, colour) in enumerate(rows):
            axes[row, column].imshow(framed(overlay(image, mask, colour), tall))
            axes[row, column].set(xticks=[], yticks=[])
        axes[0, column].set_title(item.title, fontsize=FONT_SIZE)
        for row, mask in ((2, item.floor), (3, item.prediction)):
            iou = iou_of(mask, item.query_mask)
            axes[row, column].set_xlabel(f"IoU {100 * iou:.0f} %", fontsize=FONT_SIZE)
    for row, name in enumerate(ROWS):
        axes[row, 0].set_ylabel(name, fontsize=FONT_SIZE)
