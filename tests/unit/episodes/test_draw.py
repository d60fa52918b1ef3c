"""Draws: what every episode must be, uniformity, prefixes, and pools found one by one."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

from umtfss.config import EpisodesConfig
from umtfss.data.index import DatasetIndex
from umtfss.episodes.draw import (
    draw_base_episodes,
    draw_pseudo_episodes,
    draw_split_episodes,
    draw_test_episodes,
    epoch_length,
    labelled_epoch_length,
    split_epoch_length,
)
from umtfss.episodes.episode import EpisodeList
from umtfss.errors import DataError
from umtfss.pseudo_masks.store import RegionTable

AREA = 100


def make_index(areas):
    """An index of images {row: {class: px}}."""
    ids = tuple(f"set/{i}" for i in range(len(areas)))
    sizes = np.full((len(ids), 2), 50)
    return DatasetIndex("set", "val", ids, sizes, dict(zip(ids, areas, strict=True)), "")


def random_index(seed, images=40, classes=4):
    rng = np.random.default_rng(seed)
    areas = [
        {int(c): int(rng.integers(50, 300)) for c in 1 + np.flatnonzero(rng.random(classes) < 0.5)}
        for _ in range(images)
    ]
    return make_index(areas)


def draw_test(index, classes, shot=1, count=50, seed=0, draw="class_uniform", key="test/set"):
    return draw_test_episodes(
        index, classes, shot=shot, count=count, seed=seed, draw=draw, min_area=AREA, key=key
    )


def arrays(episodes):
    return episodes.query.tolist(), episodes.class_id.tolist(), episodes.supports.tolist()


draws = st.sampled_from(["class_uniform", "list_order"])


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([1, 2, 5]), draws)
def test_every_test_episode_is_one(seed, shot, draw):
    index = random_index(seed)
    episodes = draw_test(index, (1, 3, 4), shot, 30, seed, draw)
    assert len(episodes) == 30
    assert episodes.shot == shot
    for episode in episodes:
        images = {episode.query, *episode.supports}
        assert len(images) == shot + 1
        assert episode.class_id in (1, 3, 4)
        for image_id in images:
            assert index.areas[image_id][episode.class_id] >= AREA


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 60), draws)
def test_longer_test_lists_start_with_shorter_ones(seed, count, draw):
    index = random_index(1)
    short = arrays(draw_test(index, (1, 2, 3), 2, count, seed, draw))
    long = arrays(draw_test(index, (1, 2, 3), 2, 100, seed, draw))
    for one, other in zip(short, long, strict=True):
        assert one == other[:count]


def test_seed_and_key_decide():
    index = random_index(0)
    first = arrays(draw_test(index, (1, 2)))
    assert arrays(draw_test(index, (1, 2))) == first
    assert arrays(draw_test(index, (1, 2), seed=1)) != first
    assert arrays(draw_test(index, (1, 2), key="other")) != first
    assert draw_test(index, (1, 2), key="other").key == "other"


def test_global_random_state_is_neither_used_nor_changed():
    index = random_index(0)
    first = arrays(draw_test(index, (1, 2)))
    np.random.seed(3)  # noqa: NPY002
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    assert arrays(draw_test(index, (1, 2))) == first
    assert (np.random.get_state()[1] == before).all()  # noqa: NPY002


def test_every_class_is_drawn_equally_often():
    index = random_index(2, images=60, classes=5)
    classes = (1, 2, 3, 4, 5)
    drawn = draw_test(index, classes, count=1000).class_id
    assert np.bincount(drawn)[1:].tolist() == [200] * 5
    assert sorted(draw_test(index, classes, count=5).class_id) == list(classes)
    # the order within a block is random: every class leads about as often
    assert chisquare(np.bincount(drawn[::5], minlength=6)[1:]).pvalue > 0.01


def test_query_and_supports_are_uniform_over_the_class():
    index = make_index([{1: 200}] * 8)
    episodes = draw_test(index, (1,), shot=3, count=4000)
    assert chisquare(np.bincount(episodes.query, minlength=8)).pvalue > 0.01
    # every ordered pair (query, support) equally often, the diagonal never
    pairs = np.zeros((8, 8), int)
    np.add.at(pairs, (episodes.query[:, None], episodes.supports), 1)
    assert np.trace(pairs) == 0
    assert chisquare(pairs[~np.eye(8, dtype=bool)]).pvalue > 0.01
    assert chisquare(np.bincount(episodes.supports[:, 0], minlength=8)).pvalue > 0.01


def test_list_order_cycles_the_images_and_draws_their_classes():
    index = make_index([{1: 200, 2: 200}, {9: 200}, {1: 200}, {2: 200, 1: 20}, {1: 150, 2: 300}])
    episodes = draw_test(index, (1, 2), count=4000, draw="list_order")
    assert episodes.query[:8].tolist() == [0, 2, 3, 4] * 2
    assert set(episodes.class_id[episodes.query == 2]) == {1}
    assert set(episodes.class_id[episodes.query == 3]) == {2}
    both = episodes.class_id[episodes.query == 0]
    assert chisquare(np.bincount(both, minlength=3)[1:]).pvalue > 0.01


@pytest.mark.parametrize("draw", ["class_uniform", "list_order"])
def test_class_without_enough_images(draw):
    index = make_index([{1: 200, 2: 200}, {1: 200, 2: 200}, {1: 200, 2: 99}])
    draw_test(index, (1,), shot=2, draw=draw)
    with pytest.raises(DataError) as error:
        draw_test(index, (1, 2), shot=2, draw=draw)
    text = str(error.value)
    assert "class 2 of set/val" in text
    assert "at least 3 images" in text
    assert "found:    2 images" in text
    assert "datasets.set.min_class_area" in text


# ---- pseudo-episodes


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


def draw_pseudo(
    ids, regions, shot=1, count=80, seed=0, allowed_ids=None, key="train/set", **changes
):
    config = EpisodesConfig(**changes)
    return draw_pseudo_episodes(
        ids,
        regions,
        shot=shot,
        count=count,
        seed=seed,
        settings=config,
        allowed_ids=allowed_ids,
        key=key,
    )


def pool_of(regions, region, rows, shot, config):
    """The support pool of a region among `rows`, by the protocol's words."""
    same = [r for r in rows if regions.cluster[r] == regions.cluster[region]]
    others = [r for r in same if r != region]
    if len(same) < config.small_cluster:
        return set(others)
    size = min(math.ceil(config.support_fraction * len(others)), config.support_cap)
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
    config = EpisodesConfig(support_fraction=fraction, support_cap=cap, small_cluster=small)
    allowed = set(ids[::2]) if restrict else set(ids)
    episodes = draw_pseudo(
        ids,
        regions,
        shot,
        allowed_ids=allowed if restrict else None,
        seed=seed,
        **config.model_dump(exclude={"draw"}),
    )
    pairs = zip(regions.image, regions.cluster, strict=True)
    row = {(ids[i], c): r for r, (i, c) in enumerate(pairs)}
    rows = [r for r, i in enumerate(regions.image) if ids[i] in allowed]
    for episode in episodes:
        images = {episode.query, *episode.supports}
        assert len(images) == shot + 1
        assert images <= allowed
        query = row[episode.query, episode.class_id]
        supports = {row[s, episode.class_id] for s in episode.supports}
        assert supports <= pool_of(regions, query, rows, shot, config)


def test_supports_are_uniform_over_the_pool():
    ids, regions = make_regions(3, images=31, clusters=1, density=1.1)
    episodes = draw_pseudo(ids, regions, shot=2, count=31 * 300)
    supports = episodes.supports[episodes.query == 4].ravel()
    pool = sorted(pool_of(regions, 4, range(31), 2, EpisodesConfig()))
    counts = np.bincount(supports, minlength=31)
    assert np.flatnonzero(counts).tolist() == pool
    assert len(pool) == 15
    assert chisquare(counts[pool]).pvalue > 0.01


def test_pools_are_the_same_beyond_one_block():
    ids, regions = make_regions(4, images=300, clusters=1, density=1.1)
    config = EpisodesConfig(support_fraction=0.04)
    episodes = draw_pseudo(ids, regions, shot=5, count=300, support_fraction=0.04)
    for query, supports in zip(episodes.query, episodes.supports, strict=True):
        assert set(supports) <= pool_of(regions, query, range(300), 5, config)


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


def labelled_index(images: int = 40) -> DatasetIndex:
    """Class 1 in every image, 2 in every second, 3 in one, each 50 px; 4 is too small."""
    areas = {
        f"made/{row}": {1: 50, 4: 3} | ({2: 50} if row % 2 else {}) | ({3: 50} if row == 7 else {})
        for row in range(images)
    }
    return DatasetIndex("made", "train", tuple(areas), np.full((images, 2), 9), areas, "")


def base_episodes(count: int = 120, **changed) -> EpisodeList:
    index = labelled_index()
    arguments = {"shot": 2, "seed": 0, "min_area": 10, "allowed_ids": index.image_ids[:30]}
    return draw_base_episodes(index, (1, 2, 3, 4), count=count, key="t", **arguments | changed)


def test_labelled_episodes_hold_their_class_and_only_labelled_images():
    index, episodes = labelled_index(), base_episodes()
    for episode in episodes:
        images = (episode.query, *episode.supports)
        assert len(set(images)) == 3
        assert set(images) <= set(index.image_ids[:30])
        assert all(index.areas[image_id].get(episode.class_id) == 50 for image_id in images)
    # 3 is in one image only and 4 is too small: neither can make an episode.
    assert set(episodes.class_id.tolist()) == {1, 2}


def test_labelled_queries_walk_over_every_image_once_an_epoch():
    length = labelled_epoch_length(
        labelled_index(), (1, 2), shot=2, min_area=10, allowed_ids=labelled_index().image_ids[:30]
    )
    assert length == 30
    rows = base_episodes().query.reshape(-1, length)
    assert all(len(set(epoch)) == length for epoch in rows.tolist())


def test_a_longer_list_of_labelled_episodes_starts_with_the_shorter():
    short, long = base_episodes(50), base_episodes(80)
    assert np.array_equal(short.supports, long.supports[:50])
    assert not np.array_equal(base_episodes(50, seed=1).query, short.query)


def test_labels_that_make_no_episode_are_refused():
    with pytest.raises(DataError, match=r"no base class of made/train can make 2-shot"):
        base_episodes(allowed_ids=["made/0", "made/1"])


def test_rare_test_classes_are_refused_or_left_out():
    index = labelled_index()
    arguments = {"shot": 1, "count": 30, "seed": 0, "draw": "class_uniform", "min_area": 10}
    with pytest.raises(DataError, match=r"class 3 (?s:.*)rare_classes to leave_out"):
        draw_test_episodes(index, (1, 2, 3), key="t", **arguments)
    left = draw_test_episodes(index, (1, 2, 3, 4), key="t", rare_classes="leave_out", **arguments)
    asked = draw_test_episodes(index, (1, 2), key="t", **arguments)
    assert np.array_equal(left.query, asked.query)
    assert np.array_equal(left.class_id, asked.class_id)
    with pytest.raises(DataError, match="class 3"):
        draw_test_episodes(index, (3, 4), key="t", rare_classes="leave_out", **arguments)


# ---- split episodes


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
