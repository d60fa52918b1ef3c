"""The photos and masks that a segmenter holds."""

import numpy as np
import pytest

from umtfss.predict.pictures import Pictures


def test_photos_are_held_until_they_are_dropped():
    grey, white = np.full((2, 3, 3), 90, np.uint8), np.full((4, 5, 3), 255, np.uint8)
    held = Pictures()
    support = held.add("support/0", grey, np.eye(2, 3))
    first = held.add_query(white)
    held.drop(first)
    second = held.add_query(white)
    assert len({support, first, second}) == 3  # features are kept by id
    np.testing.assert_array_equal(held.image(support), grey)
    np.testing.assert_array_equal(held.mask(support), np.eye(2, 3))
    np.testing.assert_array_equal(held.image(second), white)
    with pytest.raises(KeyError):
        held.image(first)
