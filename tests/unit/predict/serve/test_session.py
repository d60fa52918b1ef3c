"""What a session keeps."""

import io

import numpy as np
import pytest
from PIL import Image

from tests.unit.predict.serve.conftest import SUPERPIXELS
from umtfss.common.errors import DataError, StoreError
from umtfss.predict.annotations import encode
from umtfss.predict.serve import session as module
from umtfss.predict.serve.session import Session


def half(session, number=1, value=1):
    """Labels of a photo whose left half has a value."""
    labels = np.zeros(session.photo(number).size, np.uint8)
    labels[:, :100] = value
    return labels


def png(size=(30, 20)) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", size, (9, 8, 7)).save(stream, "PNG")
    return stream.getvalue()


def again(session) -> Session:
    return Session(session.folder, SUPERPIXELS)


def test_a_session_goes_on_where_it_was(filled):
    filled.add_upload(png(), "up.png")
    filled.add_object("cow")
    filled.mark(filled.photo(2), half(filled, value=2), ["red", "cow"])
    found = [{"name": "red", "score": 0.5, "share": 0.5, "runs": encode(half(filled) == 1)}]
    filled.set_found(filled.photo(1), found, filled.knowledge)
    filled.set_found(filled.photo(3), "it is damaged", filled.knowledge)
    filled.set_min_score(0.3)
    other = again(filled)
    assert other.photos == filled.photos
    for name in ("objects", "knowledge", "next_number", "min_score"):
        assert getattr(other, name) == getattr(filled, name)
    np.testing.assert_array_equal(other.labels(other.photo(2)), half(filled, value=2))
    np.testing.assert_array_equal(other.labels(other.photo(1)), half(filled))
    np.testing.assert_array_equal(other.pixels(other.photo(4)), np.full((20, 30, 3), (9, 8, 7)))


def test_a_session_of_another_version_is_refused(filled):
    text = filled.file.read_text()
    filled.file.write_text(text.replace('"version": 1', '"version": 0'))
    with pytest.raises(StoreError, match="wrong version"):
        again(filled)


def test_uploads_are_kept_below_the_folder_and_removed_with_the_photo(filled, drawn):
    photo = filled.add_upload(png(), "../../up.png")
    assert photo.name == "up.png"
    assert photo.path == filled.folder.resolve() / "photos/4.png"
    filled.remove(photo)
    assert not photo.path.exists()
    filled.remove(filled.photo(1))
    assert (drawn / "one.png").is_file()  # a photo of the user's own folder stays
    assert filled.add_upload(png(), "up.png").number == 5  # numbers are not given anew
    with pytest.raises(DataError, match="there is no photo 1"):
        filled.photo(1)


def test_a_bad_upload_leaves_nothing_and_is_named_as_the_user_does(session):
    with pytest.raises(DataError) as caught:
        session.add_upload(b"no picture", "cow.png")
    assert caught.value.problem.startswith("cow.png cannot be decoded")
    assert str(session.folder) not in str(caught.value)
    assert not list((session.folder / "photos").iterdir())
    assert not session.photos


def test_photos_have_names_of_their_own(filled, drawn):
    with pytest.raises(DataError, match="already a photo named ONE"):
        filled.add_file(drawn / "two.png", "ONE.jpg")
    filled.add_file(drawn / "two.png", "deep/one.jpg")


def test_there_are_limits(filled, monkeypatch):
    monkeypatch.setattr(module, "MOST_PHOTOS", 3)
    monkeypatch.setattr(module, "MOST_OBJECTS", 1)
    with pytest.raises(DataError, match="too many photos"):
        filled.add_upload(png(), "up.png")
    with pytest.raises(DataError, match="too many objects"):
        filled.add_object("cow")


@pytest.mark.parametrize("name", ["", "  ", "red", " red\n", "a" * 61])
def test_objects_have_names_of_their_own(filled, name):
    with pytest.raises(DataError, match="cannot be named"):
        filled.add_object(name)
    filled.add_object("cow")
    with pytest.raises(DataError, match="cannot be named"):
        filled.rename_object("cow", name)
    assert filled.objects == ["red", "cow"]


def test_a_renamed_object_keeps_its_masks_and_a_removed_one_takes_them_away(filled):
    filled.add_object("cow")
    filled.mark(filled.photo(1), half(filled, value=2), ["red", "cow"])
    both = half(filled)
    both[:, 100:] = 2
    found = [
        {"name": name, "score": 0.5, "share": 0.5, "runs": encode(both == value)}
        for value, name in enumerate(("red", "cow"), 1)
    ]
    filled.set_found(filled.photo(2), found, filled.knowledge)
    filled.rename_object("cow", "bull")
    np.testing.assert_array_equal(filled.labels(filled.photo(1)), half(filled, value=2))
    np.testing.assert_array_equal(filled.labels(filled.photo(2)), both)
    before = filled.knowledge
    filled.remove_object("red")
    assert filled.knowledge > before
    np.testing.assert_array_equal(filled.labels(filled.photo(1)), half(filled))
    np.testing.assert_array_equal(filled.labels(filled.photo(2)), both == 2)
    filled.remove_object("bull")
    assert filled.photo(1).marked is None
    assert not filled.labels(filled.photo(1)).any()


def test_masks_are_supports_and_go_before_what_is_found(filled):
    photo = filled.photo(1)
    found = [{"name": "red", "score": 0.5, "share": 1.0, "runs": encode(np.ones(photo.size, bool))}]
    filled.set_found(photo, found, filled.knowledge)
    assert filled.labels(photo).all()
    assert not filled.supports()
    before = filled.knowledge
    filled.mark(photo, half(filled), ["red"])
    assert filled.knowledge > before
    np.testing.assert_array_equal(filled.labels(photo), half(filled))
    ((of, name, mask),) = filled.supports()
    assert (of, name) == (photo, "red")
    np.testing.assert_array_equal(mask, half(filled) == 1)
    before = filled.knowledge
    filled.unmark(photo)
    assert filled.knowledge > before
    assert filled.labels(photo).all()


def test_nothing_here_is_an_answer_that_teaches_nothing(filled):
    before = filled.knowledge
    filled.mark(filled.photo(1), np.zeros(filled.photo(1).size, np.uint8), ["red"])
    assert filled.photo(1).marked == {}
    assert filled.knowledge == before
    assert not filled.supports()


def test_masks_that_do_not_fit_are_refused(filled):
    photo = filled.photo(1)
    with pytest.raises(DataError, match=r"do not fit one\.png"):
        filled.mark(photo, half(filled)[1:], ["red"])
    with pytest.raises(DataError, match="values up to 2"):
        filled.mark(photo, half(filled, value=2), ["red"])
    with pytest.raises(DataError, match="changed in another window"):
        filled.mark(photo, half(filled), ["cow"])
    assert photo.marked is None


def test_masks_are_read_by_the_names_that_the_user_saw(filled):
    filled.add_object("cow")
    filled.mark(filled.photo(1), half(filled, value=1), ["cow", "red"])
    np.testing.assert_array_equal(filled.labels(filled.photo(1)), half(filled, value=2))


def test_larger_areas_hold_smaller_ones_in_number(filled):
    photo = filled.photo(1)
    noise = np.random.default_rng(0).integers(0, 256, (12, 20, 3), np.uint8)
    Image.fromarray(noise.repeat(10, 0).repeat(10, 1)).save(photo.path)
    counts = [filled.areas(photo, size).max() for size in (1, 3, 9)]
    assert counts[0] > counts[1] > counts[2]
    assert filled.areas(photo).shape == photo.size


def test_areas_follow_the_object(filled):
    areas = filled.areas(filled.photo(1))
    inside = np.zeros(areas.shape, bool)
    inside[20:80, 20:100] = True
    (area,) = set(areas[30:70, 30:90].ravel())
    assert ((areas == area) == inside).mean() > 0.95


def test_a_photo_that_changed_its_size_is_refused(filled):
    Image.new("RGB", (7, 9)).save(filled.photo(1).path)
    with pytest.raises(DataError, match=r"has changed(?s:.*)200 x 120(?s:.*)7 x 9"):
        filled.pixels(filled.photo(1))


def test_thumbnails_show_the_objects_in_colour(filled):
    photo = filled.photo(1)
    plain = np.array(Image.open(io.BytesIO(filled.thumbnail(photo)))).astype(int)
    filled.mark(photo, half(filled), ["red"])
    drawn = np.array(Image.open(io.BytesIO(filled.thumbnail(photo)))).astype(int)
    assert plain.shape == (120, 200, 3)
    assert abs(drawn[:, 150] - drawn[:, 150].mean(1, keepdims=True)).max() < 12  # grey outside
    assert np.ptp(drawn[60, 50]) > 60
    picture = np.array(Image.open(io.BytesIO(filled.picture(photo)))).astype(int)
    assert abs(picture - filled.pixels(photo)).mean() < 4
