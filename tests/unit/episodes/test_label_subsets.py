"""Label subsets: nested, seeded, and enough of every class."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from umtfss.data.index import DatasetIndex
from umtfss.episodes.label_subsets import label_subset

AREA = 10


def index(images: int, classes: int = 6, seed: int = 0) -> DatasetIndex:
    """A split in which class c is in about every c-th image; its last class is rare."""
    random = np.random.default_rng(seed)
    areas = {}
    for row in range(images):
        held = {c: int(random.integers(1, 40)) for c in range(1, classes) if row % c == 0}
        areas[f"made/{row}"] = held
    for row in (3, 17, 18):
        areas[f"made/{row}"][classes] = 25
    sizes = np.full((images, 2), 50)
    return DatasetIndex("made", "train", tuple(areas), sizes, areas, "", tuple(areas))


def subset(of: DatasetIndex, ratio: int, seed: int = 0, floor: int = 2) -> list[str]:
    classes = range(1, 7)
    return label_subset(of, classes, ratio=ratio, floor=floor, min_area=AREA, seed=seed)


@given(st.integers(0, 50), st.integers(1, 100), st.integers(1, 100))
def test_a_smaller_subset_is_inside_a_greater_one(seed, one, other):
    made = index(120)
    small, large = sorted((one, other))
    first, second = subset(made, small, seed), subset(made, large, seed)
    assert second[: len(first)] == first
    assert len(set(second)) == len(second)


@pytest.mark.parametrize("seed", range(5))
def test_every_class_has_its_floor_at_any_ratio(seed):
    made, chosen = index(120), set(subset(index(120), 1, seed))
    for class_id in range(1, 7):
        assert len(chosen.intersection(made.class_pool(class_id, AREA))) >= 2


def test_sizes_are_those_of_the_protocol():
    # 5, 10 and 20 % of PASCAL's 5,953 images.
    made = index(5953)
    assert [len(subset(made, ratio)) for ratio in (5, 10, 20)] == [297, 595, 1190]
    assert set(subset(made, 100)) == set(made.image_ids)


def test_the_seed_decides_and_nothing_else():
    made = index(200)
    assert subset(made, 10, 1) == subset(made, 10, 1)
    assert subset(made, 10, 1) != subset(made, 10, 2)
