"""The code of pictures in the report."""

import base64
import io

import pytest
from PIL import Image

from umtfss.figures.episode_pictures import data_uri


@pytest.mark.parametrize(("size", "shown"), [((300, 600), (120, 240)), ((60, 30), (60, 30))])
def test_a_picture_is_small_and_keeps_its_colours(size, shown):
    kind, code = data_uri(Image.new("RGBA", size, (250, 5, 5, 255)), 240).split(",")
    assert kind == "data:image/webp;base64"
    image = Image.open(io.BytesIO(base64.b64decode(code)))
    assert image.size == shown
    pixel = image.convert("RGB").getpixel((10, 10))
    assert max(abs(one - other) for one, other in zip(pixel, (250, 5, 5), strict=True)) < 10


def test_a_picture_too_long_for_webp_is_made_smaller():
    code = data_uri(Image.new("RGB", (4, 20_000))).split(",")[1]
    assert Image.open(io.BytesIO(base64.b64decode(code))).size[1] == 16_383
