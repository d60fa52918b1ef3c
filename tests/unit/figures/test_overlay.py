"""Outlines of masks on an image."""

import numpy as np
import pytest

from umtfss.figures.overlay import PREDICTED, STRIPE, TRUE, framed, overlay


@pytest.mark.parametrize("colour", [PREDICTED, TRUE])
def test_overlay_keeps_colour_in_the_foreground_only(colour: tuple[float, float, float]) -> None:
    """The object is told from its surroundings even where all has the colour of the border."""
    image = np.broadcast_to(np.uint8(255 * np.array(colour)), (30, 30, 3)).copy()
    before = image.copy()
    mask = np.zeros((30, 30), np.uint8)
    mask[5:20, 5:20] = 1
    mask[20:25] = 255
    picture = overlay(image, mask, colour)
    np.testing.assert_allclose(picture[5, 5:20], np.tile(colour, (15, 1)), atol=1e-6)
    assert (np.ptp(picture, axis=2) > 0.5).sum() == 15 * 15
    assert (np.ptp(picture, axis=2)[mask != 1] < 1e-6).all()
    assert picture.min() >= 0
    assert picture.max() <= 1
    np.testing.assert_array_equal(image, before)


def test_ignored_pixels_are_striped() -> None:
    mask = np.zeros((20, 30), np.uint8)
    mask[5:15, 10:20] = 255
    striped = np.isclose(overlay(np.zeros((20, 30, 3), np.uint8), mask, TRUE), STRIPE).all(2)
    assert striped.sum() == 50
    assert striped[mask == 255].sum() == 50


@pytest.mark.parametrize("tall", [0.5, 1.0, 2.0])
def test_a_frame_holds_the_whole_picture_in_its_middle(tall: float) -> None:
    picture = np.random.default_rng(0).random((30, 40, 3))
    found = framed(picture, tall)
    assert found.shape[0] / found.shape[1] == pytest.approx(tall)
    top, left = (found.shape[0] - 30) // 2, (found.shape[1] - 40) // 2
    np.testing.assert_array_equal(found[top : top + 30, left : left + 40], picture)
    assert np.isclose(found, 0.93).all(2).sum() == found[..., 0].size - 30 * 40
    assert framed(np.ones((3, 3)), 2.0, 0.0).sum() == 9
