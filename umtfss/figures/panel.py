"""A panel of episodes: supports, query, truth and prediction.

Shapes: H W pixels.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure, SubFigure

from umtfss.episodes.overlap import foreground_overlap
from umtfss.figures.overlay import PREDICTED, TRUE, framed, overlay
from umtfss.figures.picture import save_picture

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
        """The prediction's IoU, label 255 ignored; 0 without true and predicted foreground."""
        intersection, union = foreground_overlap(self.prediction, self.query_mask)
        return float(intersection / max(1, union))


def qualitative_panel(items: Sequence[PanelItem], path: str | Path) -> None:
    """Draw episodes as columns: support and mask, query and true mask, query and prediction.

    Args:
        items: At least one episode; every `COLUMNS` of them start a new block of rows.
        path: Picture.
    """
    shapes = [image.shape for item in items for image in (item.support_image, item.query_image)]
    tall = max(height / width for height, width, _ in shapes)
    columns = min(COLUMNS, len(items))
    blocks = [items[start : start + columns] for start in range(0, len(items), columns)]
    block_inches = 0.7 + 3 * TILE_INCHES * tall
    figure = Figure(
        figsize=(0.4 + TILE_INCHES * columns, block_inches * len(blocks)), layout="constrained"
    )
    parts = figure.subfigures(len(blocks), 1, squeeze=False)[:, 0]
    for part, block in zip(parts, blocks, strict=True):
        _draw_block(part, block, columns, tall)
    save_picture(figure, path)


def _draw_block(part: SubFigure, items: Sequence[PanelItem], columns: int, tall: float) -> None:
    axes = part.subplots(3, columns, squeeze=False)
    for unused in axes[:, len(items) :].flat:
        unused.set_axis_off()
    for column, item in enumerate(items):
        rows = (
            (item.support_image, item.support_mask, TRUE),
            (item.query_image, item.query_mask, TRUE),
            (item.query_image, item.prediction.astype(np.uint8), PREDICTED),
        )
        for row, (image, mask, colour) in enumerate(rows):
            axes[row, column].imshow(framed(overlay(image, mask, colour), tall))
            axes[row, column].set(xticks=[], yticks=[])
        axes[0, column].set_title(item.title, fontsize=FONT_SIZE)
        axes[2, column].set_xlabel(f"IoU {100 * item.iou:.0f} %", fontsize=FONT_SIZE)
    for row, name in enumerate(("support", "query, truth", "prediction")):
        axes[row, 0].set_ylabel(name, fontsize=FONT_SIZE)
