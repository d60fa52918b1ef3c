"""The gallery: which regions it shows, how a tile looks, and the file."""

import io
import re

import numpy as np
import pytest
from PIL import Image

from umtfss.figures.gallery import (
    DPI,
    GAP,
    OUTLINE,
    TILE,
    central_regions,
    cluster_gallery,
    gallery_title,
    region_tile,
)
from umtfss.pseudo_masks.store import RegionTable


class Masks:
    """Ten images of 60 x 80 px; cluster 0 has one region in each, cluster 1 in two, 2 none."""

    clusters = 3

    def __init__(self):
        rng = np.random.default_rng(0)
        self.ids = tuple(f"set/{i}" for i in range(10))
        image = np.array([*range(10), 3, 7], np.int32)
        cluster = np.array([0] * 10 + [1] * 2, np.int32)
        feature = rng.standard_normal((12, 4)).astype(np.float32) + 1
        feature /= np.linalg.norm(feature, axis=1, keepdims=True)
        order = np.lexsort((cluster, image))
        image, cluster, feature = image[order], cluster[order], feature[order]
        self.regions = RegionTable(image, cluster, image, lambda c: feature[cluster == c])

    def __len__(self):
        return len(self.ids)

    def label_map(self, image_id):
        labels = np.full((60, 80), 255, np.uint8)
        labels[10:40, 20:50] = 0
        if image_id in ("set/3", "set/7"):
            labels[45:58, 60:78] = 1
        return labels

    def image(self, image_id):
        return np.full((60, 80, 3), (30, 120, 60), np.uint8)


def test_central_regions_are_nearest_to_the_mean():
    masks = Masks()
    table = masks.regions
    rows = np.flatnonzero(table.cluster == 0)
    mean = table.feature[rows].mean(0)
    expected = sorted(rows, key=lambda r: -float(table.feature[r] @ mean))
    assert central_regions(masks, 0, 4).tolist() == expected[:4]
    assert len(central_regions(masks, 1, 4)) == 2
    assert len(central_regions(masks, 2, 4)) == 0


@pytest.mark.parametrize("shape", [(60, 80), (300, 90), (40, 400)])
def test_tile_shows_the_region_and_dims_the_rest(shape):
    image = np.full((*shape, 3), (30, 120, 60), np.uint8)
    mask = np.zeros(shape, bool)
    mask[10:30, 20:40] = True
    tile = region_tile(image, mask)
    assert tile.shape == (TILE, TILE, 3)
    assert tile.dtype == np.uint8
    colours, counts = np.unique(tile.reshape(-1, 3), axis=0, return_counts=True)
    grey = int(0.35 * 70 + 0.65 * 255)
    assert {tuple(c) for c in colours.tolist()} == {(30, 120, 60), tuple(OUTLINE), (grey,) * 3}
    share = dict(zip(map(tuple, colours.tolist()), counts / TILE**2, strict=True))
    region = 1 - share[(grey,) * 3]
    assert region == pytest.approx((20 / 24) ** 2, rel=0.05)


def test_tile_of_a_region_at_the_border_of_the_image():
    image = np.zeros((50, 50, 3), np.uint8)
    mask = np.zeros((50, 50), bool)
    mask[:3, -2:] = True
    assert region_tile(image, mask).shape == (TILE, TILE, 3)
    mask[:] = True
    assert (region_tile(image, mask) == 0).all()


def test_one_row_per_cluster_largest_first(tmp_path):
    masks = Masks()
    cluster_gallery(masks, masks, tmp_path / "gallery.png", per_cluster=3)
    assert {p.name for p in tmp_path.iterdir()} == {"gallery.png", "gallery.pdf"}
    picture = np.asarray(Image.open(tmp_path / "gallery.png").convert("RGB"))
    # Cluster 2 has no region, and so no row.
    assert picture.shape == (2 * (TILE + GAP) + TILE // 2, 3 * (TILE + GAP) + TILE, 3)
    top = TILE // 2
    for row, tiles in enumerate((3, 2)):  # clusters 0, 1
        for column in range(3):
            y, x = top + row * (TILE + GAP), TILE + column * (TILE + GAP)
            tile = picture[y : y + TILE, x : x + TILE].reshape(-1, 3)
            drawn = bool((tile == OUTLINE).all(1).any())
            assert drawn == (column < tiles), (row, column)
    again = tmp_path / "again.png"
    cluster_gallery(masks, masks, again, per_cluster=3)
    for suffix in (".png", ".pdf"):
        first = (tmp_path / "gallery.png").with_suffix(suffix)
        assert again.with_suffix(suffix).read_bytes() == first.read_bytes()


def test_the_pdf_holds_the_picture_as_jpeg_at_its_size(tmp_path):
    masks = Masks()
    cluster_gallery(masks, masks, tmp_path / "gallery.png", per_cluster=3)
    picture = Image.open(tmp_path / "gallery.png")
    content = (tmp_path / "gallery.pdf").read_bytes()
    assert content.count(b"/DCTDecode") == 1
    jpeg = content[content.index(b"\xff\xd8") : content.rindex(b"\xff\xd9") + 2]
    found = np.asarray(Image.open(io.BytesIO(jpeg)), int)
    assert abs(found - np.asarray(picture.convert("RGB"), int)).mean() < 3
    box = [float(one) for one in re.search(rb"/MediaBox \[([^]]*)\]", content)[1].split()]
    assert box[2:] == pytest.approx([72 * side / DPI for side in picture.size])


def test_the_title_says_how_many_clusters_are_not_shown():
    assert gallery_title(3, 3, 1200, 10) == "3 clusters, 1,200 regions in 10 images"
    assert gallery_title(3, 2, 12, 10).endswith("\nclusters without a region: 1")
