"""The choice and the coding of pictured episodes."""

import base64
import io

import numpy as np
import pytest
from PIL import Image

from umtfss.figures.picture_episodes import PICTURE_SIDE, data_uri, ranked_rows


def test_the_best_the_median_and_the_worst_of_every_class() -> None:
    class_id = np.array([3, 1, 3, 3, 1, 3, 3])
    iou = np.array([0.2, 0.9, 0.8, 0.5, 0.1, 0.1, 0.4])
    assert ranked_rows(class_id, iou) == [
        (1, "best"),
        (4, "worst"),
        (2, "best"),
        (6, "median"),
        (5, "worst"),
    ]


def test_no_episode_is_pictured_twice() -> None:
    assert [row for row, _ in ranked_rows(np.array([5]), np.array([0.3]))] == [0]
    assert [row for row, _ in ranked_rows(np.array([5, 5]), np.array([0.3, 0.3]))] == [0, 1]


@pytest.mark.parametrize("size", [(600, 300), (30, 60)])
def test_a_picture_is_small_and_keeps_its_colours(size: tuple[int, int]) -> None:
    picture = np.zeros((*size, 3))
    picture[..., 0] = 1.5  # too large, clipped
    kind, code = data_uri(picture).split(",")
    assert kind == "data:image/webp;base64"
    image = Image.open(io.BytesIO(base64.b64decode(code)))
    assert max(image.size) == min(PICTURE_SIDE, max(size))
    assert image.size[0] * size[0] == image.size[1] * size[1]
    red, green, blue = np.asarray(image.convert("RGB")).reshape(-1, 3).mean(0)
    assert red > 240
    assert max(green, blue) < 15
