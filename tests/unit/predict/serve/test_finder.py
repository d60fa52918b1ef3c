"""The search behind the page."""

import time
from unittest.mock import Mock

import numpy as np
import pytest

from tests.unit.predict.drawn import iou
from tests.unit.predict.serve.conftest import RED_BOX
from umtfss.common.errors import DataError
from umtfss.predict.segmenter import Segmenter
from umtfss.predict.serve.finder import Finder


def box(size, left, top, right, bottom) -> np.ndarray:
    mask = np.zeros(size, np.uint8)
    mask[top:bottom, left:right] = 1
    return mask


def wait(finder) -> None:
    until = time.monotonic() + 60
    while finder.progress.running or finder._new_photos():
        assert time.monotonic() < until
        time.sleep(0.01)


@pytest.fixture
def shown(filled):
    """A session whose first photo has the mask of its red box."""
    photo = filled.photo(1)
    filled.mark(photo, box(photo.size, *RED_BOX), ["red"])
    return filled


@pytest.fixture
def finder(shown, matcher):
    matcher.min_score = 0.9
    matcher.features_folder = shown.folder / "features"
    return Finder(shown, {"matcher": matcher})


def test_the_other_photos_are_searched(finder, shown):
    finder.search()
    wait(finder)
    assert (finder.progress.done, finder.progress.total, finder.progress.error) == (2, 2, "")
    assert finder.lowest == pytest.approx(0.9)
    two, blue = shown.photo(2), shown.photo(3)
    assert iou(shown.labels(two) == 1, box(two.size, 60, 30, 160, 110) == 1) > 0.85
    assert two.found[0]["score"] > 0.9
    assert two.found_in == shown.knowledge
    assert not shown.labels(blue).any()
    assert blue.found[0]["share"] == 0
    assert shown.photo(1).found is None  # the user has marked it


def test_the_users_lowest_score_goes_before_the_programs(finder, shown):
    for score in (1.0, -1.0):
        shown.set_min_score(score)
        finder.search()
        wait(finder)
        assert finder.lowest == score
        assert shown.labels(shown.photo(2)).any() == (score < 0.9)


def test_features_are_computed_while_the_user_marks_and_only_once(finder, shown, monkeypatch):
    wait(finder)
    until = time.monotonic() + 60
    while len(list((shown.folder / "features").glob("*.npz"))) < 3:
        assert time.monotonic() < until
        time.sleep(0.01)
    network = type(finder._segmenter._extractor.network)
    monkeypatch.setattr(network, "forward", lambda *_: pytest.fail("computed again"))
    finder.search()
    wait(finder)
    assert finder.progress.error == ""
    assert shown.photo(2).found


def test_a_photo_that_is_lost_does_not_stop_the_others(finder, shown):
    wait(finder)  # else the second photo may be read just now
    shown.photo(2).path.unlink()
    shown._pixels.cache_clear()
    finder.search()
    wait(finder)
    assert "does not exist" in shown.photo(2).error
    assert shown.photo(2).found is None
    assert shown.photo(3).found is not None
    assert finder.progress.error == ""


def test_why_a_search_ends_is_told_and_the_next_one_works(finder, shown):
    photo = shown.photo(1)
    shown.mark(photo, np.ones(photo.size, np.uint8), ["red"])
    finder.search()
    wait(finder)
    assert "all of one.png is marked as red" in finder.progress.error
    shown.unmark(photo)
    finder.search()
    wait(finder)
    assert "no object is marked" in finder.progress.error
    shown.mark(photo, box(photo.size, *RED_BOX), ["red"])
    finder.search()
    wait(finder)
    assert finder.progress.error == ""


def test_an_unexpected_error_is_told_too(finder, shown, monkeypatch, caplog):
    monkeypatch.setattr(Segmenter, "fit", lambda *_: 1 / 0)
    finder.search()
    wait(finder)
    assert "ZeroDivisionError" in finder.progress.error
    assert "the search failed" in caplog.text


def test_a_new_search_ends_the_one_before(finder, shown, monkeypatch):
    searched, segment = [], Segmenter.segment

    def slow(self, pixels):
        searched.append(len(self._supports[0]))
        if len(searched) == 1:
            photo = shown.photo(2)
            shown.mark(photo, box(photo.size, 60, 30, 160, 110), ["red"])
            finder.search()
        return segment(self, pixels)

    monkeypatch.setattr(Segmenter, "segment", slow)
    finder.search()
    wait(finder)
    assert searched == [1, 2]  # photo 2 on one support, then photo 3 on two
    assert shown.photo(3).found_in == shown.knowledge


def test_a_photo_that_was_removed_meanwhile_is_passed_over(finder, shown, monkeypatch):
    segment = Segmenter.segment

    def removing(self, pixels):
        for number in (2, 3):
            if number in shown.photos:
                shown.remove(shown.photo(number))
        return segment(self, pixels)

    monkeypatch.setattr(Segmenter, "segment", removing)
    finder.search()
    wait(finder)
    assert finder.progress.error == ""
    with pytest.raises(DataError, match="there is no photo 2"):
        shown.photo(2)


def test_of_several_segmenters_the_one_that_finds_the_supports_searches(
    shown, matcher, monkeypatch
):
    other = Mock(min_score=0.9, lowest_scores=np.array([0.9]), classes_=("red",))
    other.leave_one_out.return_value = {"red": [0.4, 0.4]}
    finder = Finder(shown, {"other": other, "matcher": matcher})
    assert finder.chosen == "other or matcher"
    finder.search()
    wait(finder)
    assert "cannot be found for red" in finder.progress.error  # one support alone
    two = shown.photo(2)
    shown.mark(two, box(two.size, 60, 30, 160, 110), ["red"])
    for iou_of_other, calls, said in ((0.0, 0, "other: 0.0"), (1.0, 1, "other: 100.0, used; ")):
        other.leave_one_out.return_value = {"red": [iou_of_other] * 2}
        other.segment.side_effect = ValueError("the other searches")
        finder.search()
        wait(finder)
        assert other.segment.call_count == calls
        assert said in finder.chosen
        assert ("matcher" in finder.chosen.partition("used")[0]) == (calls == 0)
