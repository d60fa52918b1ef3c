"""MaskSplit's halves, against the release's numbers and by what must hold of any mask."""

import numpy as np
import pytest

from tests.golden_files import golden
from umtfss.common.errors import DataError
from umtfss.episodes import mask_split
from umtfss.episodes.episode import Episode
from umtfss.episodes.mask_split import SplitMasks, draw_halves, large_enough, split_mask
from umtfss.episodes.masks import PseudoMasks


def disc(height: int = 375, width: int = 500, radius: int = 60) -> np.ndarray:
    row, column = np.ogrid[:height, :width]
    inside = (row - height / 2) ** 2 + (column - width / 2) ** 2 < radius**2
    return inside.astype(np.uint8)


@pytest.mark.parametrize(
    ("group", "across"), [("split", "columns"), ("split_by_rows", "rows")]
)  # fmt: skip
def test_halves_equal_the_releases(group: str, across: str) -> None:
    numbers = golden("masksplit")
    masks = numbers[f"{group}/mask"]
    assert len(masks) > 1
    for place, mask in enumerate(masks):
        shift, uniform = (numbers[f"{group}/{name}"][place] for name in ("shift", "uniform"))
        support, query = split_mask(mask, int(shift), float(uniform), across)  # type: ignore[arg-type]
        np.testing.assert_array_equal(support, numbers[f"{group}/support_half"][place])
        np.testing.assert_array_equal(query, numbers[f"{group}/query_half"][place])


def test_without_a_shift_the_line_is_the_releases_median_column() -> None:
    numbers = golden("masksplit")
    for mask, median in zip(numbers["split/mask"], numbers["split/median_column"], strict=True):
        support, query = split_mask(mask, 0, 1.0)
        left, right = mask.copy(), mask.copy()
        left[:, median:] = 0
        right[:, : median + 1] = 0
        np.testing.assert_array_equal(support, left)
        np.testing.assert_array_equal(query == 1, right)


def test_the_size_rule_equals_the_releases() -> None:
    numbers = golden("masksplit")
    pairs = zip(numbers["split/support_half"], numbers["split/query_half"], strict=True)
    kept = [large_enough(*pair) for pair in pairs]
    assert kept == numbers["split/kept_by_size_rule"].astype(bool).tolist()
    assert len(set(kept)) == 2


def test_the_size_rule_asks_nothing_of_the_query() -> None:
    full = np.ones((32, 16), np.uint8)
    assert large_enough(full, 255 * full)  # 512 px, and a query without foreground
    assert not large_enough(full[1:], full)


def test_halves_are_parts_of_the_mask_and_disjoint() -> None:
    mask = disc()
    areas = []
    for index in range(60):
        support, query = draw_halves(mask, 0, index)
        assert set(np.unique(support)) == {0, 1}
        assert set(np.unique(query)) == {0, 1, 255}
        np.testing.assert_array_equal(query == 255, support == 1)
        outside = (support == 1) | (query == 1)
        assert not outside[mask == 0].any()
        assert (mask == 1).sum() - outside.sum() <= 2 * 375  # the line is thin
        areas.append((support == 1).sum())
    assert min(areas) >= 512
    assert len(set(areas)) > 30


def test_each_half_comes_from_either_side() -> None:
    """The support's half is at the left as often as at the right."""
    mask = disc()
    column = np.arange(500)
    centres = []
    for index in range(100):
        support, query = draw_halves(mask, 0, index)
        means = [(half == 1).sum(0) @ column / (half == 1).sum() for half in (support, query)]
        centres.append(means[0] < means[1])
    assert 30 <= sum(centres) <= 70


@pytest.mark.parametrize(
    ("size", "least", "most"),
    [((375, 500), -40, 39), ((500, 375), -40, 39), ((480, 640), -51, 50), ((120, 250), -20, 19)],
)
def test_the_range_of_shifts_follows_the_long_side(
    monkeypatch: pytest.MonkeyPatch, size: tuple[int, int], least: int, most: int
) -> None:
    shifts = []

    def record(mask: np.ndarray, shift: int, uniform: float) -> tuple[np.ndarray, np.ndarray]:
        shifts.append(shift)
        return np.ones(size, np.uint8), np.ones(size, np.uint8)

    monkeypatch.setattr(mask_split, "split_mask", record)
    for index in range(2000):
        draw_halves(np.ones(size, np.uint8), index)
    assert (min(shifts), max(shifts)) == (least, most)
    assert len(set(shifts)) == most - least + 1


def test_a_split_is_drawn_anew_until_both_halves_hold() -> None:
    """The first draw of a narrow region often leaves all of it on one side."""
    narrow = np.zeros((375, 500), np.uint8)
    narrow[100:300, 240:250] = 1
    empty = 0
    for index in range(40):
        random = mask_split.generator("split", 0, index, 0)
        first = split_mask(narrow, int(random.integers(-40, 40)), random.random())
        support, query = draw_halves(narrow, 0, index)
        assert support.sum() >= 512
        assert (query == 1).any()
        lacks = not (first[0].sum() >= 512 and (first[1] == 1).any())
        empty += lacks
        assert lacks or np.array_equal(first[0], support)
    assert 0 < empty < 40


def test_a_large_photo_asks_for_larger_halves() -> None:
    """In proportion to the area: the same picture is split alike at any size."""
    mask = disc(75, 100, 7)
    large = np.kron(mask, np.ones((20, 20), np.uint8))  # 2,000 px long: 16 times 512 px
    for index in range(10):
        support, _ = draw_halves(large, 0, index)
        assert support.sum() >= 16 * 512


def test_a_small_region_is_cut_at_its_median_column() -> None:
    small = np.zeros((375, 500), np.uint8)
    small[100:120, 200:221] = 1  # 420 px: no half can have 512
    sides = set()
    for index in range(20):
        support, query = draw_halves(small, 0, index)
        areas = support.sum(), (query == 1).sum()
        assert sorted(areas) == [180, 220]  # 20 px are on the line
        sides.add(bool(support[110, 200]))
    assert sides == {False, True}


def test_a_region_that_no_column_cuts_is_refused() -> None:
    thin = np.zeros((375, 500), np.uint8)
    thin[:300, 7:9] = 1
    with pytest.raises(DataError, match=r"cannot be split(.|\n)*600 px in 2 columns"):
        draw_halves(thin, 0, 0)


def split_source(seed: int = 0) -> SplitMasks:
    class Store:
        def label_map(self, image_id: str) -> np.ndarray:
            return 255 - 255 * disc(radius=60 + int(image_id[-1]))

    return SplitMasks(PseudoMasks(Store()), seed)


def test_supports_show_one_half_and_the_query_the_other() -> None:
    masks, episode = split_source(), Episode(3, "a/1", 0, ("a/1", "a/1"))
    query, *supports = (masks.episode_mask(episode, role) for role in episode.roles)
    assert len(supports) == 2
    for support in supports:
        np.testing.assert_array_equal(query == 255, support == 1)
    assert (query == 1).any()
    whole = masks.masks.mask("a/1", 0)
    assert not ((query == 1) & (whole == 0)).any()


def test_halves_depend_on_seed_and_episode_alone() -> None:
    episodes = [Episode(index, "a/1", 0, ("a/1",)) for index in range(5)]
    masks = split_source()
    first = [masks.episode_mask(episode, "query") for episode in episodes]
    again = [split_source().episode_mask(episode, "query") for episode in episodes[::-1]][::-1]
    np.testing.assert_array_equal(first, again)
    assert len({one.tobytes() for one in first}) == 5
    other = [split_source(seed=1).episode_mask(episode, "query") for episode in episodes]
    assert not np.array_equal(first, other)
