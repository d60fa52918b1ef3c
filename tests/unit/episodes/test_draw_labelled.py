"""Draws: what every episode must be, uniformity, prefixes, and pools found one by one."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

from umtfss.common.errors import DataError
from umtfss.data.index import DatasetIndex
from umtfss.episodes.draw_labelled import (
    draw_base_episodes,
    draw_test_episodes,
    labelled_epoch_length,
)
from umtfss.episodes.episode import EpisodeList

AREA = 100


def make_index(areas):
    """An index of images {row: {class: px}}."""
    ids = tuple(f"set/{i}" for i in range(len(areas)))
    sizes = np.full((len(ids), 2), 50)
    return DatasetIndex("set", "val", ids, sizes, dict(zip(ids, areas, strict=True)), "", ids)


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


def labelled_index(images: int = 40) -> DatasetIndex:
    """Class 1 in every image, 2 in every second, 3 in one, each 50 px; 4 is too small."""
    areas = {
        f"made/{row}": {1: 50, 4: 3} | ({2: 50} if row % 2 else {}) | ({3: 50} if row == 7 else {})
        for row in range(images)
    }
    return DatasetIndex(
        "made", "train", tuple(areas), np.full((images, 2), 9), areas, "", tuple(areas)
    )


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


def test_rare_test_classes_are_refused_or_left_out(caplog):
    index = labelled_index()
    arguments = {"shot": 1, "count": 30, "seed": 0, "draw": "class_uniform", "min_area": 10}
    with pytest.raises(DataError, match=r"class 3 (?s:.*)rare_classes to leave_out"):
        draw_test_episodes(index, (1, 2, 3), key="t", **arguments)
    left = draw_test_episodes(index, (1, 2, 3, 4), key="t", rare_classes="leave_out", **arguments)
    assert "class 3 of made/train is left out" in caplog.text
    asked = draw_test_episodes(index, (1, 2), key="t", **arguments)
    assert np.array_equal(left.query, asked.query)
    assert np.array_equal(left.class_id, asked.class_id)
    with pytest.raises(DataError, match="class 3") as refused:
        draw_test_episodes(index, (3, 4), key="t", rare_classes="leave_out", **arguments)
    assert "leave_out" not in str(refused.value)  # advice for those who have not set it


# ---- split episodes
