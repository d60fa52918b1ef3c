"""Outlines of masks on an image."""

import numpy as np
import pytest

from umtfss.figures.overlay import PREDICTED, TRUE, overlay


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
