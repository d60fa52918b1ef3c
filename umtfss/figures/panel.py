"""A panel of episodes: supports, query, truth and prediction.

Shapes: H W pixels.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from umtfss.episodes.overlap import foreground_overlap
from umtfss.figures.overlay import PREDICTED, TRUE, overlay
from umtfss.figures.picture import save_picture


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
    save_picture(figure, path)
