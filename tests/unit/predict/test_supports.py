"""Photos that show objects, and their masks."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.unit.predict.drawn import photo, support
from umtfss.common.errors import DataError
from umtfss.predict.supports import (
    check_fit,
    check_lists,
    check_supports,
    find_supports,
    named_supports,
    read_photo,
    read_support_mask,
)


def test_a_value_of_a_palette_mask_is_picked(tmp_path):
    one = support(tmp_path)
    labels = np.array(Image.open(one.mask)) // 255 * 7
    labels[90:, :] = 3  # another class
    labels[85:90, :] = 255  # ignored
    image = Image.fromarray(labels, mode="P")
    image.putpalette(list(range(256)) * 3)
    image.save(one.mask)
    expected = np.where(labels == 255, 255, labels == 7)
    for mask in (one.mask, labels):
        np.testing.assert_array_equal(read_support_mask(mask, one.image, 7), expected)
    with pytest.raises(DataError, match=r"shows no object(?s:.*)has the value 4"):
        read_support_mask(one.mask, one.image, 4)
    labels[labels != 7] = 255
    with pytest.raises(DataError, match="shows no background"):
        read_support_mask(labels, one.image, 7)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda mask: np.zeros_like(mask), "shows no object"),
        (lambda mask: np.full_like(mask, 255), "shows no background"),
        (lambda mask: mask[:, :-1], r"expected: 200 x 120 px(?s:.*)found:    199 x 120"),
        (lambda mask: mask.T, "turn the mask as the photo is shown"),
    ],
)
def test_a_mask_that_cannot_be_used_is_named(tmp_path, spoil, message):
    one = support(tmp_path)
    Image.fromarray(np.ascontiguousarray(spoil(np.array(Image.open(one.mask))))).save(one.mask)
    with pytest.raises(DataError, match=rf"support\.png(?s:.*){message}"):
        check_supports([support(tmp_path, "good"), one], None)


@pytest.mark.parametrize(
    ("given", "found"),
    [
        (np.zeros((5, 5), np.uint8), r"shape \(5, 5\), dtype uint8"),
        (np.zeros((5, 5, 4), np.uint8), r"shape \(5, 5, 4\)"),
        (np.zeros((5, 5, 3)), "dtype float64"),
        (Image.new("RGB", (5, 5)), "PIL.Image.Image"),
        (None, "NoneType"),
    ],
)
def test_what_is_no_photo_is_named_as_the_argument(given, found):
    pattern = rf"images\[3\] cannot(?s:.*)shape \(H, W, 3\), dtype uint8(?s:.*)found: .*{found}"
    with pytest.raises(DataError, match=pattern):
        read_photo(given, "images[3]")


WHITE = np.zeros((120, 200, 3), np.uint8)  # a photo


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (np.zeros((120, 200)), r"masks\[2\] shows no object(?s:.*)mask_value of `Segmenter.fit`"),
        (np.ones((120, 200)), r"masks\[2\] shows no background"),
        (np.zeros((120, 199)), r"masks\[2\] does not fit its photo images\[2\]"),
        (np.zeros((120, 200, 1)), r"masks\[2\] cannot(?s:.*)shape \(120, 200\) of images\[2\]"),
        (Image.new("L", (200, 120)), r"masks\[2\] cannot be read as a mask(?s:.*)PIL.Image.Image"),
    ],
)
def test_an_array_is_named_by_its_place(mask, message):
    with pytest.raises(DataError, match=message):
        read_support_mask(mask, WHITE, number=2)
    with pytest.raises(DataError, match=r"images\[2\] cannot be read as a colour image"):
        read_support_mask(mask, WHITE / 255, number=2)


def test_a_folder_an_object_pairs_photos_and_masks_by_name(tmp_path):
    support(tmp_path / "cow", "a")
    mask = support(tmp_path / "cow", "b").mask.rename(tmp_path / "cow/b-mask.png")
    photo(tmp_path / "sheep/c.png", (0, 0, 9, 9))
    photo(tmp_path / "sheep/c_mask.png", (0, 0, 9, 9))
    (tmp_path / "cow/.hidden.jpg").write_text("")
    (tmp_path / "cow/notes.txt").write_text("")
    found = find_supports(tmp_path)
    assert [(one.name, one.image.name, one.mask.name) for one in found] == [
        ("cow", "a.jpg", "a.png"),
        ("cow", "b.jpg", mask.name),
        ("sheep", "c.png", "c_mask.png"),
    ]
    assert [one.name for one in find_supports(tmp_path / "cow")] == ["cow", "cow"]


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (["cow/a.jpg"], r"cow/a\.jpg has no mask"),
        (["cow/a.jpg", "cow/a.png", "cow/a-mask.png"], r"several masks: a-mask\.png, a\.png"),
        (["cow/a.jpg", "cow/a.png", "cow/b-mask.png"], r"b-mask\.png is the mask of no photo"),
        (["cow/a.jpg", "cow/a.png", "empty/"], "empty holds no photo"),
    ],
)
def test_files_that_do_not_go_together_are_named(tmp_path, files, message):
    for name in files:
        path = tmp_path / name
        if name.endswith("/"):
            path.mkdir()
        else:
            photo(path, (0, 0, 9, 9))
    with pytest.raises(DataError, match=message):
        find_supports(tmp_path)
    with pytest.raises(DataError, match=r"is no folder of supports"):
        find_supports(tmp_path / "nothing")


def test_supports_are_given_in_one_way():
    image, mask = [Path("a.jpg")], [Path("a.png")]
    assert [one.name for one in named_supports(None, image, mask)] == ["object"]
    for folder, images, masks in ((Path("s"), image, mask), (None, [], [])):
        with pytest.raises(DataError, match="not clear which photos"):
            named_supports(folder, images, masks)
    with pytest.raises(DataError, match=r"found:    1 images, 0 masks\n"):
        named_supports(None, image, [])


def test_a_photo_is_one_shot_of_an_object():
    check_fit(["a.jpg", "a.jpg"], ["1.png", "2.png"], ["cow", "car"])
    with pytest.raises(DataError, match=r"each once(?s:.*)a\.jpg twice"):
        check_fit(["a.jpg", "a.jpg"], ["1.png", "2.png"], ["cow", "cow"])
    with pytest.raises(DataError, match=r"images, masks and names do not(?s:.*)0 images"):
        check_fit([], [], [])
    four, two = ["a.jpg", "b.jpg", "c.jpg", "d.jpg"], ["a.png", "b.png"]
    with pytest.raises(DataError, match=r"^images and masks do not(?s:.*)4 images, 2 masks\n"):
        check_fit(four, two)
    with pytest.raises(DataError, match=r"4 images, 4 masks, 2 names\n"):
        check_fit(four, four, two)


@pytest.mark.parametrize(
    ("name", "one", "found"),
    [
        ("masks", "a.jpg", "'a.jpg'"),
        ("images", Path("a.jpg"), "'a.jpg'"),
        ("names", "cow", "'cow'"),
        ("images", WHITE, r"shape \(120, 200, 3\)"),
        ("masks", WHITE[..., 0], r"shape \(120, 200\)"),
        ("images", Image.new("RGB", (5, 5)), "PIL.Image.Image"),
    ],
)
def test_a_single_one_is_no_list(name, one, found):
    check_lists(images=[one], masks=WHITE[..., 0][None], names=None)
    with pytest.raises(DataError, match=rf"{name} is no list(?s:.*)found: .*{found}"):
        check_lists(**{name: one})
