"""Photos that are served."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from umtfss.common.errors import DataError
from umtfss.predict.serve import photo
from umtfss.predict.serve.photo import LONG_SIDE, Photo, clean_name, read_checked, reduced


@pytest.mark.parametrize(
    ("sent", "name"),
    [
        ("cow.jpg", "cow.jpg"),
        ("../../etc/cow.jpg", "cow.jpg"),
        ("C:\\photos\\cow.JPG", "cow.JPG"),
        ("..\u202e.cow\n1.png", "cow1.png"),
        ("Kühe im Stall (2).webp", "Kühe im Stall (2).webp"),
        ("/../.png.png", "png.png"),
        ("a" * 300 + ".jpeg", "a" * 80 + ".jpeg"),
        ('<a href="x">.png', "a href=x.png"),
    ],
)
def test_a_name_has_no_folder_and_no_control_character(sent, name):
    assert clean_name(sent) == name


@pytest.mark.parametrize("sent", ["", "..", "cow", "cow.svg", "cow.png/", "cow.png/..", ".png"])
def test_other_names_are_refused(sent):
    with pytest.raises(DataError, match="a name ending in"):
        clean_name(sent)


def test_large_photos_are_reduced_to_the_mean_of_their_pixels():
    pixels = np.zeros((100, 4 * LONG_SIDE, 3), np.uint8)
    pixels[:, ::2] = 200
    small = reduced(pixels)
    assert small.shape == (25, LONG_SIDE, 3)
    assert abs(small[:, 10:-10].astype(int) - 100).max() <= 2
    assert reduced(small) is small


def test_too_many_pixels_are_refused_before_they_are_decoded(tmp_path, monkeypatch):
    Image.new("L", (9000, 7000)).save(tmp_path / "large.png")
    monkeypatch.setattr(photo, "read_photo", lambda _: pytest.fail("decoded"))
    with pytest.raises(DataError, match=r"too many pixels(?s:.*)9000 x 7000 px, 63 million"):
        read_checked(tmp_path / "large.png")


def test_other_formats_are_not_opened_whatever_their_name(tmp_path):
    """Pillow would read a GIF; for an EPS it would start a program."""
    Image.new("RGB", (20, 20)).save(tmp_path / "a.png", "GIF")
    with pytest.raises(DataError, match=r"a\.png cannot be decoded"):
        read_checked(tmp_path / "a.png")
    with pytest.raises(DataError, match=r"b\.png does not exist"):
        read_checked(tmp_path / "b.png")


def test_a_photo_comes_back_as_it_was_kept():
    runs = {"size": [2, 3], "counts": "06"}
    photo = Photo(3, Path("/a/cow.png"), "cow.png", (2, 3), {"cow": runs}, [{"name": "cow"}], 7)
    assert Photo.from_json(json.loads(json.dumps(photo.as_json()))) == photo
