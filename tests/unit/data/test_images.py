"""Decoding of image and mask files."""

import struct

import numpy as np
import pytest
from PIL import ExifTags, Image, ImageDraw, ImageOps, PngImagePlugin

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
    drawn = np.array([[0, 1, 2, 255]], np.uint8).repeat(5, 0).repeat(5, 1)
    Image.fromarray(drawn).save(tmp_path / "m.png")
    assert read_object_mask(tmp_path / "m.png")[0, ::5].tolist() == [0, 1, 1, 1]
    assert read_object_mask(tmp_path / "m.png", 2)[0, ::5].tolist() == [0, 0, 1, 255]
    assert read_object_mask(tmp_path / "m.png", 255)[0, ::5].tolist() == [0, 0, 0, 1]


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


def drawn_object():
    """A white polygon on black."""
    picture = Image.new("L", (120, 90))
    ImageDraw.Draw(picture).polygon([(20, 15), (95, 30), (60, 80)], fill=255)
    return picture


def overlap(mask, truth):
    """The IoU of a 0/1 mask and a boolean one."""
    return (mask.astype(bool) & truth).sum() / (mask.astype(bool) | truth).sum()


@pytest.mark.parametrize("name", ["m.jpg", "m.png"])
@pytest.mark.parametrize("mode", ["L", "RGB"])
@pytest.mark.parametrize("quality", [10, 50, 75, 95, 100])
def test_compression_noise_is_no_object_whatever_the_file_is_called(tmp_path, name, mode, quality):
    drawn = drawn_object()
    drawn.convert(mode).save(tmp_path / "m.jpg", quality=quality)
    Image.open(tmp_path / "m.jpg").save(tmp_path / name)
    assert overlap(read_object_mask(tmp_path / name), np.array(drawn) > 0) > 0.98


@pytest.mark.parametrize("filter_", [Image.Resampling.BILINEAR, Image.Resampling.LANCZOS])
def test_a_resized_mask_is_cut_at_half_with_a_warning(tmp_path, caplog, filter_):
    drawn = drawn_object()
    drawn.resize((480, 360), Image.Resampling.NEAREST).resize((120, 90), filter_).save(
        tmp_path / "m.png"
    )
    for _ in range(2):
        assert overlap(read_object_mask(tmp_path / "m.png"), np.array(drawn) > 0) > 0.99
    (record,) = caplog.records  # once, though a mask is read for every query
    assert "m.png has soft edges" in record.getMessage()


def test_dark_objects_beside_a_bright_one_are_objects(tmp_path, caplog):
    labels = np.zeros((40, 60), np.uint8)
    labels[5:20, 5:25], labels[15:35, 30:50], labels[2:10, 50:58] = 1, 2, 255
    Image.fromarray(labels).save(tmp_path / "m.png")
    np.testing.assert_array_equal(read_object_mask(tmp_path / "m.png"), labels > 0)
    colours = np.zeros((256, 3), np.uint8)
    colours[[1, 2, 255]] = [(9, 0, 30), (0, 80, 0), (255, 255, 255)]
    Image.fromarray(colours[labels]).save(tmp_path / "m.png")
    np.testing.assert_array_equal(read_object_mask(tmp_path / "m.png"), labels > 0)
    assert not caplog.records


def test_a_photo_is_no_mask(tmp_path, picture):
    Image.fromarray(picture).save(tmp_path / "m.png")
    with pytest.raises(DataError, match=r"m\.png cannot be used(?s:.*)photo in place of its mask"):
        read_object_mask(tmp_path / "m.png")
    Image.fromarray(np.array([[np.nan, 0, 1]], np.float32)).save(tmp_path / "m.tif")
    with pytest.raises(DataError, match=r"m\.tif cannot be used"):
        read_object_mask(tmp_path / "m.tif")


def test_values_of_a_jpeg_are_not_those_that_were_saved(tmp_path):
    drawn_object().save(tmp_path / "m.jpg")
    with pytest.raises(DataError, match=r"m\.jpg(?s:.*)save the mask as PNG"):
        read_object_mask(tmp_path / "m.jpg", 255)


@pytest.mark.parametrize("transparency", [2, bytes([255, 255, 0])])
def test_what_a_palette_makes_transparent_is_background(tmp_path, transparency):
    mask = Image.fromarray(np.array([[0, 1, 2]], np.uint8), mode="P")
    mask.putpalette([0, 0, 0, 255, 255, 255, 255, 0, 0])
    mask.save(tmp_path / "m.png", transparency=transparency)
    assert read_object_mask(tmp_path / "m.png").tolist() == [[0, 1, 0]]


def test_a_grey_picture_with_a_palette_is_judged_by_its_greys(tmp_path):
    drawn = drawn_object()
    drawn.save(tmp_path / "m.jpg", quality=50)
    indices = np.array(Image.open(tmp_path / "m.jpg"))
    mask = Image.fromarray(indices, mode="P")
    mask.putpalette([grey for grey in range(256) for _ in range(3)])
    mask.save(tmp_path / "m.png")
    assert overlap(read_object_mask(tmp_path / "m.png"), np.array(drawn) > 0) > 0.98


@pytest.mark.parametrize("orientation", range(10))
def test_every_orientation_is_turned_as_pillow_turns_it(tmp_path, picture, orientation):
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    Image.fromarray(picture).save(tmp_path / "a.png", exif=exif)
    expected = ImageOps.exif_transpose(Image.open(tmp_path / "a.png"))
    np.testing.assert_array_equal(read_image(tmp_path / "a.png", upright=True), expected)


def exif_with(entry):
    """EXIF data, little-endian: orientation 6, and one more entry."""
    orientation = struct.pack("<HHIHH", 0x112, 3, 1, 6, 0)
    return b"Exif\0\0II*\0" + struct.pack("<IH", 8, 2) + orientation + entry + bytes(24)


@pytest.mark.parametrize(
    "entry",
    [
        struct.pack("<HHIi", 0x9204, 9, 1, -5),  # a negative SLONG
        struct.pack("<HHII", 0x9204, 10, 1, 38),  # an SRATIONAL of 0 / 0
        struct.pack("<HHII", 0x8825, 4, 1, 999999),  # GPS data beyond the end
    ],
)
def test_a_photo_is_turned_whatever_else_its_exif_data_hold(tmp_path, picture, entry):
    Image.fromarray(picture).save(tmp_path / "a.jpg", exif=exif_with(entry))
    assert read_image(tmp_path / "a.jpg", upright=True).shape == (17, 12, 3)


def test_a_photo_whose_exif_data_cannot_be_read_stays_as_stored(tmp_path, picture, caplog):
    text = PngImagePlugin.PngInfo()
    text.add_text("Raw profile type exif", "\nexif\n   4\nno hex digits")
    Image.fromarray(picture).save(tmp_path / "a.png", pnginfo=text)
    np.testing.assert_array_equal(read_image(tmp_path / "a.png", upright=True), picture)
    assert "a.png stays as stored" in caplog.text


def too_large(path):
    Image.new("1", (20000, 10000)).save(path)


def too_much_text(path):
    text = PngImagePlugin.PngInfo()
    text.add_text("comment", "a" * (PngImagePlugin.MAX_TEXT_CHUNK + 1), zip=True)
    Image.new("L", (5, 4)).save(path, pnginfo=text)


@pytest.mark.parametrize(
    ("name", "write", "remedy"),
    [
        ("huge.png", too_large, "shrink it to less than 178 million px"),
        ("wordy.png", too_much_text, "save it without its comments"),
        ("labelme.json", lambda path: path.write_text('{"shapes": []}'), "labelme_export_json"),
        ("photo.heic", lambda path: path.write_bytes(b"ftypheic" * 9), "save it as PNG or JPEG"),
        ("lost.png", lambda path: path.symlink_to("nowhere"), "restore the path"),
    ],
)
def test_every_kind_of_unreadable_file_has_its_remedy(tmp_path, name, write, remedy):
    write(tmp_path / name)
    with pytest.raises(DataError, match=name) as caught:
        read_object_mask(tmp_path / name)
    assert remedy in caught.value.fix


@pytest.mark.parametrize(
    ("error", "remedy"),
    [
        (PermissionError(13, "Permission denied"), "readable for this account"),
        (MemoryError(), "free some memory"),
        (IndexError("list index out of range"), "it is damaged"),
        (struct.error("unpack requires 4 bytes"), "it is damaged"),
    ],
)
def test_an_error_of_any_library_names_the_file(tmp_path, monkeypatch, picture, error, remedy):
    Image.fromarray(picture).save(tmp_path / "a.png")

    def fail(path):
        raise error

    monkeypatch.setattr(Image, "open", fail)
    with pytest.raises(DataError, match=r"a\.png cannot be decoded") as caught:
        read_image(tmp_path / "a.png")
    assert remedy in caught.value.fix
