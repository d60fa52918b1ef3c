"""A picture of the most central regions of every cluster.

Shapes: N clusters, H W pixels, S side of a tile.
"""

from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image
from scipy.ndimage import binary_erosion
from tqdm import tqdm

from umtfss.common.files import atomic_path
from umtfss.data.catalog import Catalog
from umtfss.figures.picture import save_picture
from umtfss.pseudo_masks.store import PseudoMaskStore

TILE = 200  # px
GAP = 8  # px between tiles
MARGIN = 0.12  # margin around a region, over the region's longer side
OUTLINE = np.array([255, 176, 0])
DPI = 100
JPEG_QUALITY = 70


def central_regions(store: PseudoMaskStore, cluster: int, count: int) -> np.ndarray:
    """Rows of the regions nearest to the cluster's mean region feature, nearest first.

    Args:
        store: The pseudo-masks.
        cluster: The cluster.
        count: Largest number of rows.
    """
    feature = store.regions.cluster_features(cluster)
    cosine = feature @ feature.mean(0) if len(feature) else np.empty(0)
    nearest = np.argsort(-cosine, kind="stable")[:count]
    return np.flatnonzero(store.regions.cluster == cluster)[nearest]


def region_tile(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """A square tile around a region, with border drawn and surroundings dimmed, (S, S, 3) uint8.

    Args:
        image: (H, W, 3) uint8.
        mask: (H, W) bool, with at least one pixel.
    """
    pixels = np.argwhere(mask)
    extent = int((np.ptp(pixels, axis=0).max() + 1) * (1 + 2 * MARGIN))
    side = min(extent, *mask.shape)  # the square stays inside the image
    top, left = (pixels.mean(0) - side / 2).clip(0, np.array(mask.shape) - side).astype(int)
    box, size = (left, top, left + side, top + side), (TILE, TILE)
    cut = Image.fromarray(image).resize(size, Image.Resampling.LANCZOS, box)
    region = np.asarray(Image.fromarray(mask.astype(np.float32)).resize(size, box=box)) > 0.5

    tile = np.asarray(cut).astype(np.float32)
    dimmed = 0.35 * tile.mean(2, keepdims=True) + 0.65 * 255
    tile = np.where(region[..., None], tile, dimmed)
    tile[region & ~binary_erosion(region, iterations=2, border_value=1)] = OUTLINE
    return tile.astype(np.uint8)


def gallery_title(clusters: int, shown: int, regions: int, images: int) -> str:
    """The title: what the picture shows, and how many clusters have no region."""
    title = f"{clusters} clusters, {regions:,} regions in {images:,} images"
    return title if shown == clusters else f"{title}\nclusters without a region: {clusters - shown}"


def cluster_gallery(
    store: PseudoMaskStore, catalog: Catalog, path: str | Path, per_cluster: int = 8
) -> None:
    """Draw each cluster's most central regions, one cluster a row, largest cluster first.

    Clusters without a valid region have no row; the title gives their number.

    Args:
        store: The pseudo-masks.
        catalog: Source of the images.
        path: The picture, `.png`; a PDF is written beside it.
        per_cluster: Regions per cluster.
    """
    counts = np.bincount(store.regions.cluster, minlength=store.clusters)
    ranked = np.argsort(-counts, kind="stable")[: np.count_nonzero(counts)]
    width = per_cluster * (TILE + GAP) + TILE
    height = TILE + GAP
    figure = Figure((width / DPI, (len(ranked) * height + TILE // 2) / DPI), dpi=DPI)
    FigureCanvasAgg(figure)
    shape = figure.get_size_inches() * DPI
    for place, cluster in enumerate(tqdm(ranked, "gallery", unit="cluster")):
        strip = np.full((TILE, per_cluster * (TILE + GAP), 3), 255, np.uint8)
        for column, region in enumerate(central_regions(store, int(cluster), per_cluster)):
            image_id = store.ids[store.regions.image[region]]
            mask = store.label_map(image_id) == cluster
            left = column * (TILE + GAP)
            strip[:, left : left + TILE] = region_tile(catalog.image(image_id), mask)
        bottom = shape[1] - TILE // 2 - place * height - TILE
        figure.figimage(strip[::-1], xo=TILE, yo=bottom, origin="lower")
        middle = (bottom + TILE / 2) / shape[1]
        label = f"cluster {cluster}\n{counts[cluster]:,} regions"
        figure.text(0.9 * TILE / shape[0], middle, label, ha="right", va="center", fontsize=13)
    title = gallery_title(store.clusters, len(ranked), len(store.regions), len(store))
    figure.text(
        TILE / shape[0], 1 - TILE / 4 / shape[1], title, va="center", fontsize=17, weight="bold"
    )
    with matplotlib.rc_context({"savefig.facecolor": "white"}):
        save_picture(figure, path, DPI)
    _save_small_pdf(Path(path))


def _save_small_pdf(picture: Path) -> None:
    """Write a `.png` as PDF beside it; JPEG makes it a fifth of what matplotlib would write."""
    with Image.open(picture) as image, atomic_path(picture.with_suffix(".pdf")) as temporary:
        image.convert("RGB").save(
            temporary,
            "PDF",
            resolution=DPI,
            quality=JPEG_QUALITY,
            title="",  # nor the time, so that equal pictures give equal bytes
            creationDate="",
            modDate="",
        )
