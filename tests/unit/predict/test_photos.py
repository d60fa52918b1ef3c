"""Finding the photos to segment."""

import os

import pytest

from tests.unit.predict.drawn import photo, support
from umtfss.common.errors import DataError
from umtfss.predict.outputs import Outputs
from umtfss.predict.photos import check_folder, find_queries


def find(paths, folder, supports=(), **settings):
    return find_queries(paths, Outputs(folder, ("object",), **settings), supports)


def test_folders_are_searched_and_results_have_names_of_their_own(tmp_path):
    for name in ("in/a.png", "in/deep/a.jpg", "b.JPG"):
        photo(tmp_path / name, (0, 0, 9, 9))
    found = find([tmp_path / "in", tmp_path / "b.JPG"], tmp_path / "out")
    assert [query.name for query in found] == ["a", "deep/a", "b"]
    photo(tmp_path / "in/a.webp", (0, 0, 9, 9))
    with pytest.raises(DataError, match=r"out/a\.png(?s:.*)a\.png and .*a\.webp"):
        find([tmp_path / "in"], tmp_path / "out")


@pytest.mark.parametrize(("name", "found"), [("no.jpg", "nothing there"), ("x.txt", "another")])
def test_what_is_no_photo_is_refused(tmp_path, name, found):
    (tmp_path / "x.txt").write_text("x")
    with pytest.raises(DataError, match=found):
        find([tmp_path / name], tmp_path / "out")


def test_no_photo_is_overwritten(tmp_path):
    photo(tmp_path / "a.png", (0, 0, 9, 9))
    with pytest.raises(DataError, match=r"overwrite .*a\.png"):
        find([tmp_path / "a.png"], tmp_path)
    find([tmp_path / "a.png"], tmp_path / "out")


def test_no_support_mask_is_overwritten(tmp_path):
    photo(tmp_path / "photos/dog.jpg", (0, 0, 9, 9))
    one = support(tmp_path, "dog")
    with pytest.raises(DataError, match=r"overwrite .*dog\.png"):
        find([tmp_path / "photos"], tmp_path, [one])


def test_masks_of_supports_are_no_photos(tmp_path):
    one = support(tmp_path / "photos", "dog")
    one = one._replace(mask=one.mask.rename(tmp_path / "photos/dog-mask.png"))
    (query,) = find([tmp_path / "photos"], tmp_path / "out", [one])
    assert query.path == one.image
    one.image.rename(tmp_path / "dog.jpg")
    with pytest.raises(DataError, match="no photo to segment"):
        find([tmp_path / "photos"], tmp_path / "out", [one])


@pytest.mark.parametrize(
    ("other", "settings"),
    [("dog-overlay", {}), ("dog-soft", {"soft": True})],
)
def test_a_mask_does_not_replace_another_result(tmp_path, other, settings):
    for name in ("dog.jpg", f"{other}.jpg"):
        photo(tmp_path / "photos" / name, (0, 0, 9, 9))
    with pytest.raises(DataError, match=rf"out/{other}\.png(?s:.*)dog\.jpg and|and .*dog\.jpg"):
        find([tmp_path / "photos"], tmp_path / "out", **settings)


def test_a_photo_is_not_named_as_a_list_of_results(tmp_path):
    photo(tmp_path / "coco.jpg", (0, 0, 9, 9))
    find([tmp_path / "coco.jpg"], tmp_path / "out")
    with pytest.raises(DataError, match=r"out/coco\.json"):
        find([tmp_path / "coco.jpg"], tmp_path / "out", labelme=True)


def test_a_folder_that_cannot_be_written_to_is_named(tmp_path):
    check_folder(tmp_path / "new/deep")
    assert not os.listdir(tmp_path / "new/deep")
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"nothing can be written to .*file"):
        check_folder(tmp_path / "file")
