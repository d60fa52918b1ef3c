"""Boxes around what was found, against counting pixel by pixel; crops and files of boxes."""

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from umtfss.episodes.episode import EpisodeList
from umtfss.errors import StoreError
from umtfss.evaluation.closer import (
    BULK,
    LEAST_SIDE,
    MOST_AREA,
    Box,
    Crops,
    crop_id,
    crop_ids,
    find_box,
    load_boxes,
    save_boxes,
)

SIZES = st.tuples(st.integers(2, 60), st.integers(2, 60))
SCORES = SIZES.flatmap(lambda size: arrays(np.float32, size, elements=st.floats(-1, 1, width=32)))


def rectangle(size: tuple[int, int], top: int, left: int, height: int, width: int) -> np.ndarray:
    score = np.full(size, -1.0, np.float32)
    score[top : top + height, left : left + width] = 0.1
    return score


def around(score: np.ndarray, axis: int) -> tuple[float, float]:
    """Ends of a box along one axis, in parts of the side, pixel by pixel and not rounded."""
    side = score.shape[axis]
    lines = sorted(pixel[axis] for pixel in zip(*np.nonzero(score > 0), strict=True))
    cut = [lines[min(int(np.ceil(part * len(lines))), len(lines)) - 1]
           for part in ((1 - BULK) / 2, (1 + BULK) / 2)]  # fmt: skip
    length = min(1, max(LEAST_SIDE, 1.15 * (cut[1] + 1 - cut[0]) / side))
    start = (cut[0] + cut[1] + 1) / 2 / side - length / 2
    start = max(0, min(1 - length, start))
    return start, start + length


@given(SCORES)
def test_a_box_holds_what_was_found_and_is_no_larger_than_eighths_ask(score):
    box = find_box(score)
    if not (score > 0).any():
        assert box is None
        return
    ends = [around(score, axis) for axis in (0, 1)]
    area = np.prod([end - start for start, end in ends])
    if box is None:
        tight = [np.floor(8 * start) <= 0 and np.ceil(8 * end) >= 8 for start, end in ends]
        assert area >= MOST_AREA - 1e-9 or all(tight)
        return
    assert area < MOST_AREA + 1e-9
    for (start, end), low, high in zip(ends, box[:2], box[2:], strict=True):
        assert 0 <= low < high <= 8
        assert low / 8 <= start + 1e-6 < (low + 1) / 8 + 2e-6
        assert (high - 1) / 8 - 2e-6 < end - 1e-6 <= high / 8


@pytest.mark.parametrize(
    ("pixels", "box"),
    [
        ((40, 40, 20, 20), Box(2, 2, 6, 6)),  # a small thing: 0.35 of each side about it
        ((0, 90, 20, 10), Box(0, 5, 3, 8)),  # a corner: the box stays in the image
        ((10, 0, 80, 40), Box(0, 0, 8, 4)),
        ((0, 0, 70, 100), None),  # as good as everything
        ((17, 17, 67, 67), None),  # 0.58 of the area, but eighths around it are the whole image
    ],
)
def test_boxes_that_anyone_can_check(pixels, box):
    assert find_box(rectangle((100, 100), *pixels)) == box


def test_a_few_pixels_elsewhere_do_not_widen_a_box():
    score = rectangle((100, 200), 40, 20, 20, 40)
    alone = find_box(score)
    score[-1, -3:] = 1
    assert find_box(score) == alone
    score[-20:, -40:] = 1
    assert find_box(score) != alone


def test_a_crop_is_the_box_of_its_image():
    image = np.arange(101 * 67 * 3, dtype=np.uint8).reshape(101, 67, 3)

    class Photos:
        def image(self, image_id: str) -> np.ndarray:
            assert image_id == "a@b/1-2.png"
            return image

    crops, box = Crops(Photos(), "a"), Box(1, 0, 4, 8)
    crop = crops.image(crop_id("a@b/1-2.png", box))
    np.testing.assert_array_equal(crop, image[round(101 / 8) : round(404 / 8)])
    assert crops.name == "a"
    assert crop.flags.c_contiguous


@given(SIZES.filter(lambda size: min(size) >= 16))
def test_boxes_side_by_side_tile_an_image(size):
    seen = np.zeros(size, int)
    for top in range(8):
        for left in range(8):
            seen[Box(top, left, top + 1, left + 1).pixels(size)] += 1
    assert (seen == 1).all()


def episodes(key: str, count: int) -> EpisodeList:
    ids = ["a/0", "a/1", "a/2"]
    rows = np.arange(count)[:, None] + np.arange(2)
    return EpisodeList(ids, rows[:, 0] % 3, np.full(count, 7), rows[:, 1:] % 3, key)


def test_boxes_are_read_as_they_were_found(tmp_path):
    one, other = episodes("test/a/fold0/1shot/seed0", 4), episodes("test/a/fold1/1shot/seed0", 2)
    found = [Box(0, 0, 4, 4), None, Box(1, 2, 8, 8), Box(0, 0, 4, 4)]
    save_boxes(tmp_path / "boxes.h5", [(one, found), (other, [None, None])])
    assert load_boxes(tmp_path / "boxes.h5", one) == found
    assert load_boxes(tmp_path / "boxes.h5", other) == [None, None]
    save_boxes(tmp_path / "again.h5", [(one, found), (other, [None, None])])
    assert (tmp_path / "again.h5").read_bytes() == (tmp_path / "boxes.h5").read_bytes()
    # episodes 0 and 3 are of one image: their crop is one
    assert crop_ids([tmp_path / "boxes.h5"]) == ["a/0@0-0-4-4", "a/2@1-2-8-8"]
    save_boxes(tmp_path / "more.h5", [(other, [Box(0, 0, 4, 4), Box(0, 0, 4, 4)])])
    both = crop_ids([tmp_path / "more.h5", tmp_path / "boxes.h5"])
    assert both == ["a/0@0-0-4-4", "a/1@0-0-4-4", "a/2@1-2-8-8"]


def test_boxes_of_other_episodes_are_refused(tmp_path):
    path = tmp_path / "boxes.h5"
    save_boxes(path, [(episodes("one", 2), [None, Box(0, 0, 4, 4)])])
    with pytest.raises(StoreError, match=r"boxes.h5 does not hold(?s:.*)of two(?s:.*)none"):
        load_boxes(path, episodes("two", 2))
    with pytest.raises(StoreError, match=r"3 boxes of one(?s:.*)2 boxes(?s:.*)all_episodes"):
        load_boxes(path, episodes("one", 3))
    with h5py.File(path, "a") as file:
        file.attrs["version"] = 0
    with pytest.raises(StoreError, match="not a file of boxes"):
        crop_ids([path])


def test_a_stopped_job_leaves_no_boxes(tmp_path):
    def stopped():
        yield episodes("one", 2), [None, None]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        save_boxes(tmp_path / "boxes.h5", stopped())
    assert list(tmp_path.iterdir()) == []
