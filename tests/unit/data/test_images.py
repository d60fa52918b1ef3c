"""Decoding of image and mask files."""

import numpy as np
import pytest
from PIL import Image

from umtfss.common.errors import DataError
from umtfss.data.images import read_image, read_mask, read_object_mask


@pytest.fixture
def picture():
    return np.random.default_rng(0).integers(0, 256, (12, 17, 3), dtype=np.uint8)


def test_read_image_returns_rgb(tmp_path, picture):
    Image.fromarray(picture).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), picture)


def test_read_image_turns_grey_into_rgb(tmp_path, picture):
    Image.fromarray(picture[..., 0]).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), picture[..., :1].repeat(3, 2))


def test_read_image_leaves_exif_orientation_to_the_caller(tmp_path, picture):
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees
    Image.fromarray(picture).save(tmp_path / "a.jpg", exif=exif)
    assert read_image(tmp_path / "a.jpg").shape == (12, 17, 3)
    assert read_image(tmp_path / "a.jpg", upright=True).shape == (17, 12, 3)


def test_read_image_refuses_16_bits(tmp_path, picture):
    Image.fromarray(picture[..., 0].astype(np.uint16) * 257).save(tmp_path / "a.png")
    with pytest.raises(DataError, match=r"a\.png(?s:.*)8 bits"):
        read_image(tmp_path / "a.png")


@pytest.mark.parametrize("keep", [0, 10, 300])
def test_read_image_names_a_truncated_file(tmp_path, picture, keep):
    Image.fromarray(picture).save(tmp_path / "a.jpg")
    content = (tmp_path / "a.jpg").read_bytes()
    assert keep < len(content)
    (tmp_path / "a.jpg").write_bytes(content[:keep])
    with pytest.raises(DataError, match=r"a\.jpg cannot be decoded"):
        read_image(tmp_path / "a.jpg")


def test_read_image_names_a_missing_file(tmp_path):
    with pytest.raises(DataError, match=r"gone\.jpg does not exist"):
        read_image(tmp_path / "gone.jpg")


@pytest.mark.parametrize("colours", [4, 256])
def test_read_mask_returns_palette_indices_not_colours(tmp_path, colours):
    indices = np.arange(12, dtype=np.uint8).reshape(3, 4) % min(colours, 12)
    image = Image.fromarray(indices, mode="P")
    image.putpalette([200, 100, 50] * colours)  # one colour: only the index tells them apart
    image.save(tmp_path / "m.png", bits=8 if colours == 256 else 2)
    np.testing.assert_array_equal(read_mask(tmp_path / "m.png"), indices)


def test_read_mask_returns_grey_values(tmp_path):
    indices = np.array([[0, 20, 255]], dtype=np.uint8)
    Image.fromarray(indices).save(tmp_path / "m.png")
    np.testing.assert_array_equal(read_mask(tmp_path / "m.png"), indices)


def test_read_mask_refuses_colours(tmp_path, picture):
    Image.fromarray(picture).save(tmp_path / "m.png")
    with pytest.raises(DataError, match=r"class ids(?s:.*)RGB"):
        read_mask(tmp_path / "m.png")


@pytest.mark.parametrize("mode", ["1", "L", "RGB", "RGBA", "LA"])
def test_an_object_mask_is_what_is_not_black(tmp_path, mode):
    drawn = np.zeros((4, 6), np.uint8)
    drawn[1:3, 2:5] = 255
    Image.fromarray(drawn).convert(mode).save(tmp_path / "m.png")
    np.testing.assert_array_equal(read_object_mask(tmp_path / "m.png"), drawn // 255)


def test_what_is_transparent_in_an_object_mask_is_background(tmp_path):
    drawn = np.full((4, 6, 4), 255, np.uint8)
    drawn[:2, :, 3] = 0
    Image.fromarray(drawn).save(tmp_path / "m.png")
    assert read_object_mask(tmp_path / "m.png").tolist() == [[0] * 6] * 2 + [[1] * 6] * 2


def test_a_value_of_an_object_mask_can_be_picked(tmp_path):
    drawn = np.array([[0, 1, 2, 255]], np.uint8)
    Image.fromarray(drawn).save(tmp_path / "m.png")
    assert read_object_mask(tmp_path / "m.png").tolist() == [[0, 1, 1, 1]]
    assert read_object_mask(tmp_path / "m.png", 2).tolist() == [[0, 0, 1, 255]]
    assert read_object_mask(tmp_path / "m.png", 255).tolist() == [[0, 0, 0, 1]]


def test_a_palette_begins_with_the_background(tmp_path):
    mask = Image.fromarray(np.array([[0, 1]], np.uint8), mode="P")
    mask.putpalette([255, 255, 255, 0, 0, 0])
    mask.save(tmp_path / "m.png")
    with pytest.raises(DataError, match=r"first colour(?s:.*)255, 255, 255(?s:.*)--mask-value"):
        read_object_mask(tmp_path / "m.png")
    assert read_object_mask(tmp_path / "m.png", 0).tolist() == [[1, 0]]


def test_a_folder_is_no_picture(tmp_path):
    with pytest.raises(DataError, match="is a folder"):
        read_image(tmp_path)


def test_an_object_mask_is_no_jpeg(tmp_path, picture):
    Image.fromarray(picture).save(tmp_path / "m.jpg")
    with pytest.raises(DataError, match=r"m\.jpg(?s:.*)save the mask as PNG"):
        read_object_mask(tmp_path / "m.jpg")
