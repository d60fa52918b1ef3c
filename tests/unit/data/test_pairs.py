"""Photos with their masks beside them."""

import pytest

from umtfss.data.pairs import pairs


def names(folder, *files):
    for name in files:
        (folder / name).touch()
    found, problems = pairs(folder)
    return [(image.name, mask.name) for image, mask in found], problems


def test_photos_and_masks_are_paired_by_name(tmp_path):
    (tmp_path / "deep.jpg").mkdir()
    files = ("a.jpg", "a.png", "b.JPG", "b-mask.png", "c.png", "c_mask.png", ".d.jpg", "e.txt")
    assert names(tmp_path, *files) == (
        [("a.jpg", "a.png"), ("b.JPG", "b-mask.png"), ("c.png", "c_mask.png")],
        [],
    )


@pytest.mark.parametrize(
    ("files", "problem"),
    [
        (["a.jpg"], "a.jpg has no mask"),
        (["a.png"], "a.png has no mask"),
        (["a.jpg", "a.png", "a-mask.png"], "a.jpg has several masks: a-mask.png, a.png"),
        (["b-mask.png"], "b-mask.png is the mask of no photo"),
    ],
)
def test_other_files_are_named(tmp_path, files, problem):
    found, problems = names(tmp_path, *files)
    assert not found
    assert [one.removeprefix(f"{tmp_path}/") for one in problems] == [problem]
