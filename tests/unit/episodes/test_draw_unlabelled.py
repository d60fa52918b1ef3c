"""Draws without labels: pools found one by one, epochs, prefixes, splits of one image."""

import math
from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

from umtfss.common.errors import DataError
from umtfss.data.index import DatasetIndex
from umtfss.data.splits import ClassPresence
from umtfss.episodes import draw_unlabelled as module
from umtfss.episodes.draw_unlabelled import (
    draw_pseudo_episodes,
    draw_split_episodes,
    epoch_length,
    images_with_classes,
    split_epoch_length,
)
from umtfss.pseudo_masks.store import RegionTable


def arrays(episodes):
    return episodes.query.tolist(), episodes.class_id.tolist(), episodes.supports.tolist()


def make_regions(seed, images=60, clusters=4, channels=5, density=0.5):
    """Image ids and a table of random regions."""
    rng = np.random.default_rng(seed)
    image, cluster = np.nonzero(rng.random((images, clusters)) < density)
    feature = rng.standard_normal((len(image), channels)).astype(np.float32)
    feature /= np.linalg.norm(feature, axis=1, keepdims=True)
    ids = tuple(f"set/{i}" for i in range(images))
    table = RegionTable(
        image.astype(np.int32),
        cluster.astype(np.int32),
        np.full(len(image), 3000, np.int32),
        lambda c: feature[cluster == c],
    )
    return ids, table


def draw_pseudo(ids, regions, shot=1, count=80, seed=0, allowed_ids=None, key="train/set"):
    return draw_pseudo_episodes(
        ids,
        regions,
        shot=shot,
        count=count,
        seed=seed,
        allowed_ids=allowed_ids,
        key=key,
    )


def pool_of(regions, region, rows, shot):
    """The support pool of a region among `rows`, by the protocol's words."""
    same = [r for r in rows if regions.cluster[r] == regions.cluster[region]]
    others = [r for r in same if r != region]
    if len(same) < module.SMALL_CLUSTER:
        return set(others)
    size = min(math.ceil(module.SUPPORT_FRACTION * len(others)), module.SUPPORT_CAP)
    cosine = {r: float(regions.feature[r] @ regions.feature[region]) for r in others}
    return set(sorted(others, key=lambda r: -cosine[r])[: max(size, shot)])


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 10**6),
    st.sampled_from([1, 3]),
    st.sampled_from([0.05, 0.5, 1.0]),
    st.sampled_from([1, 7, 5000]),
    st.sampled_from([1, 20, 100]),
    st.booleans(),
)
def test_every_pseudo_episode_is_one(seed, shot, fraction, cap, small, restrict):
    ids, regions = make_regions(seed)
    allowed = set(ids[::2]) if restrict else set(ids)
    sizes = {"SUPPORT_FRACTION": fraction, "SUPPORT_CAP": cap, "SMALL_CLUSTER": small}
    with mock.patch.multiple(module, **sizes):
        check_pseudo_episodes(ids, regions, shot, seed, allowed)


def check_pseudo_episodes(ids, regions, shot, seed, allowed):
    """Draws episodes, and looks at the pool of every query region among the allowed images."""
    restricted = allowed if len(allowed) < len(ids) else None
    episodes = draw_pseudo(ids, regions, shot, allowed_ids=restricted, seed=seed)
    pairs = zip(regions.image, regions.cluster, strict=True)
    row = {(ids[i], c): r for r, (i, c) in enumerate(pairs)}
    rows = [r for r, i in enumerate(regions.image) if ids[i] in allowed]
    for episode in episodes:
        images = {episode.query, *episode.supports}
        assert len(images) == shot + 1
        assert images <= allowed
        query = row[episode.query, episode.class_id]
        supports = {row[s, episode.class_id] for s in episode.supports}
        assert supports <= pool_of(regions, query, rows, shot)


def test_supports_are_uniform_over_the_pool():
    ids, regions = make_regions(3, images=31, clusters=1, density=1.1)
    episodes = draw_pseudo(ids, regions, shot=2, count=31 * 300)
    supports = episodes.supports[episodes.query == 4].ravel()
    pool = sorted(pool_of(regions, 4, range(31), 2))
    counts = np.bincount(supports, minlength=31)
    assert np.flatnonzero(counts).tolist() == pool
    assert len(pool) == 15
    assert chisquare(counts[pool]).pvalue > 0.01


def test_pools_are_the_same_beyond_one_block(monkeypatch):
    monkeypatch.setattr(module, "SUPPORT_FRACTION", 0.04)
    ids, regions = make_regions(4, images=300, clusters=1, density=1.1)
    episodes = draw_pseudo(ids, regions, shot=5, count=300)
    for query, supports in zip(episodes.query, episodes.supports, strict=True):
        assert set(supports) <= pool_of(regions, query, range(300), 5)


def test_an_epoch_visits_every_usable_image_once_in_a_new_order():
    ids, regions = make_regions(5, density=0.3)
    length = epoch_length(ids, regions, shot=1)
    usable = set(regions.image.tolist())
    assert length == len(usable) < len(ids)
    query = draw_pseudo(ids, regions, count=3 * length).query.reshape(3, length)
    assert all(set(epoch) == usable for epoch in query)
    assert (query[0] != query[1]).any()
    assert (query[1] != query[2]).any()


def test_clusters_of_an_image_are_uniform():
    ids, regions = make_regions(6, images=12, clusters=3, density=1.1)
    episodes = draw_pseudo(ids, regions, count=12 * 250)
    for image in range(12):
        drawn = episodes.class_id[episodes.query == image]
        assert chisquare(np.bincount(drawn, minlength=3)).pvalue > 0.001
    assert chisquare(np.bincount(episodes.class_id, minlength=3)).pvalue > 0.01


def test_clusters_with_too_few_images_are_passed_over():
    image = np.array([0, 0, 1, 1, 2, 2, 3, 4], np.int32)
    cluster = np.array([0, 1, 0, 1, 0, 2, 1, 2], np.int32)
    feature = np.ones((8, 1), np.float32)
    table = RegionTable(image, cluster, image, lambda c: feature[cluster == c])
    ids = [f"set/{i}" for i in range(5)]
    episodes = draw_pseudo(ids, table, shot=2, count=40)
    # cluster 2 has two images: image 4 is left out, image 2 is drawn by cluster 0 alone
    assert set(episodes.query.tolist()) == {0, 1, 2, 3}
    assert set(episodes.class_id[episodes.query == 2]) == {0}
    assert epoch_length(ids, table, shot=2) == 4
    assert epoch_length(ids, table, shot=1) == 5
    with pytest.raises(DataError) as error:
        draw_pseudo(ids, table, shot=3)
    assert "valid regions in 4 images" in str(error.value)
    assert "at most 3 in one cluster" in str(error.value)
    with pytest.raises(DataError, match="0 valid regions in 0 images"):
        draw_pseudo(ids, table, allowed_ids=[])


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 150))
def test_longer_pseudo_lists_start_with_shorter_ones(seed, count):
    ids, regions = make_regions(7)
    short = arrays(draw_pseudo(ids, regions, 2, count, seed))
    long = arrays(draw_pseudo(ids, regions, 2, 200, seed))
    for one, other in zip(short, long, strict=True):
        assert one == other[:count]


def test_seed_and_key_decide_pseudo_episodes():
    ids, regions = make_regions(8)
    first = arrays(draw_pseudo(ids, regions))
    assert arrays(draw_pseudo(ids, regions)) == first
    assert arrays(draw_pseudo(ids, regions, seed=1)) != first
    assert arrays(draw_pseudo(ids, regions, key="x")) != first
    assert draw_pseudo(ids, regions, key="x").key == "x"


def salient_regions(images=(0, 2, 3, 5, 8, 9), count=10):
    """Image ids and the salient regions of some of the images."""
    rows = np.array(images, np.int32)
    ids = tuple(f"set/{i}" for i in range(count))
    table = RegionTable(rows, 0 * rows, 0 * rows + 3000, lambda c: np.ones((len(rows), 1)))
    return ids, table


def draw_split(ids, regions, shot=1, count=40, seed=0, allowed_ids=None, key="train/set"):
    return draw_split_episodes(
        ids, regions, shot=shot, count=count, seed=seed, allowed_ids=allowed_ids, key=key
    )


def test_an_image_is_its_own_query_and_supports():
    ids, regions = salient_regions()
    episodes = draw_split(ids, regions, shot=3)
    assert len(episodes) == 40
    assert episodes.key == "train/set"
    for episode in episodes:
        assert episode.supports == (episode.query,) * 3
        assert episode.class_id == 0


def test_an_epoch_of_splits_holds_every_salient_image_once_in_a_new_order():
    ids, regions = salient_regions()
    assert split_epoch_length(ids, regions) == 6
    orders = draw_split(ids, regions, count=60).query.reshape(10, 6)
    assert all(sorted(order) == [0, 2, 3, 5, 8, 9] for order in orders.tolist())
    assert len({tuple(order) for order in orders.tolist()}) > 5


def test_only_allowed_images_are_split():
    ids, regions = salient_regions()
    allowed = {"set/1", "set/3", "set/9", "other/0"}
    assert split_epoch_length(ids, regions, allowed_ids=allowed) == 2
    assert set(draw_split(ids, regions, allowed_ids=allowed).query) == {3, 9}
    with pytest.raises(DataError, match=r"no image can make(.|\n)*pseudo_masks.min_area"):
        draw_split(ids, regions, allowed_ids={"set/1"})


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6), st.integers(0, 39))
def test_longer_split_lists_start_with_shorter_ones(seed, count):
    ids, regions = salient_regions()
    short = arrays(draw_split(ids, regions, 2, count, seed))
    long = arrays(draw_split(ids, regions, 2, 40, seed))
    for one, other in zip(short, long, strict=True):
        assert one == other[:count]


def test_seed_and_key_decide_split_episodes():
    ids, regions = salient_regions()
    first = arrays(draw_split(ids, regions))
    assert arrays(draw_split(ids, regions)) == first
    assert arrays(draw_split(ids, regions, seed=1)) != first
    assert arrays(draw_split(ids, regions, key="x")) != first


def test_images_are_those_that_hold_a_wanted_class():
    # The last image's class is too small to count.
    areas = {"set/0": {1: 500}, "set/1": {1: 500, 6: 100}, "set/2": {20: 900}, "set/3": {7: 99}}
    index = DatasetIndex("set", "train", tuple(areas), np.full((4, 2), 50), areas, "", tuple(areas))
    wanted = {"set": ClassPresence((6, 7, 20), 100)}
    assert images_with_classes(wanted, [index]) == {"set/1", "set/2"}
    assert images_with_classes(None, iter(())) is None
