"""Regions: all pixels of one cluster in one image.

Shapes: H W pixels, h w grid, C channels, N clusters, V valid regions of the image.
"""

import numpy as np
import torch
import torch.nn.functional as F

from umtfss.experiment.pseudo_masks import PseudoMasksConfig
from umtfss.features.geometry import cell_weights

NO_REGION = 255
BACKGROUND_SPAN = 0.99  # part of the rows or of the columns
BORDER = 0.04  # width over the image's side: about one token of the usual grids


def valid_regions(
    labels: np.ndarray, clusters: int, settings: PseudoMasksConfig
) -> tuple[np.ndarray, np.ndarray]:
    """The clusters whose region is valid, (V,) ascending, and the regions' areas, (V,) px.

    A region is valid if it is neither small nor background-like. It is background-like if at least
    99 % of the image's rows, or of its columns, hold a pixel of the region. A row or column without
    such a pixel does not count, so two distant specks do not span the image.

    Args:
        labels: (H, W) uint8, cluster of every pixel.
        clusters: N.
        settings: Smallest area.
    """
    height, width = labels.shape
    rows = np.arange(height)[:, None] * clusters + labels
    columns = np.arange(width) * clusters + labels
    in_row = np.bincount(rows.ravel(), minlength=height * clusters).reshape(height, clusters)
    in_column = np.bincount(columns.ravel(), minlength=width * clusters).reshape(width, clusters)
    area = in_row.sum(0)
    row_span, column_span = (in_row > 0).mean(0), (in_column > 0).mean(0)
    background = np.maximum(row_span, column_span) >= BACKGROUND_SPAN
    valid = np.flatnonzero((area >= settings.min_area) & ~background)
    return valid, area[valid]


def pixel_counts(labels: np.ndarray, clusters: int) -> np.ndarray:
    """The number of pixels of every cluster, in the image and on its border, (2, N) int64.

    The border is `BORDER` times the side wide, and at least one pixel.

    Args:
        labels: (H, W) uint8, cluster of every pixel.
        clusters: N.
    """
    rows, columns = (max(1, round(BORDER * side)) for side in labels.shape)
    border = np.ones(labels.shape, bool)
    border[rows:-rows, columns:-columns] = False
    counted = (np.bincount(part.ravel(), minlength=clusters) for part in (labels, labels[border]))
    return np.stack([count[:clusters] for count in counted])


def region_features(
    labels: np.ndarray,
    clusters: np.ndarray,
    tokens: np.ndarray,
    grid: tuple[int, int],
    align: bool,
) -> np.ndarray:
    """The masked mean of the tokens over each region, (V, C) float32, L2-normalised.

    The weight of a token is the part of its cell that the region covers. Cells that are patches
    begin and end on whole pixels, so neighbouring cells may share a pixel.

    Args:
        labels: (H, W) uint8, cluster of every pixel.
        clusters: (V,) int, clusters of the regions; each occurs in `labels`.
        tokens: (h * w, C) float32, L2-normalised.
        grid: (h, w).
        align: Whether the grid aligns corners; if so, cells at the border are half as wide.
    """
    masks = torch.from_numpy(labels == clusters.astype(np.uint8)[:, None, None]).float()
    if align:
        sides = zip(grid, labels.shape, strict=True)
        rows, columns = (torch.from_numpy(cell_weights(*side, align).copy()) for side in sides)
        weights = rows @ masks @ columns.T
    else:
        weights = F.adaptive_avg_pool2d(masks, grid)
    # sums instead of means, as only the direction is kept
    sums = weights.flatten(1) @ torch.from_numpy(tokens)
    return F.normalize(sums, dim=1).numpy()


def keep_clusters(labels: np.ndarray, clusters: np.ndarray) -> np.ndarray:
    """The labels with every cluster but `clusters` set to `NO_REGION`, (H, W) uint8."""
    table = np.full(256, NO_REGION, dtype=np.uint8)
    table[clusters] = clusters
    return table[labels]
