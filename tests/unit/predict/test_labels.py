"""The object of every pixel."""

import numpy as np
import pytest
from scipy.ndimage import label

from umtfss.predict.labels import labels_of


def test_labels_are_the_most_similar_of_the_objects_found():
    cosines = np.array([[[0.4, 0.1, 0.4, -0.1]], [[0.6, 0.9, 0.4, -0.9]]])
    found = np.array([[[True, False, True, True]], [[True, False, True, True]]])
    np.testing.assert_array_equal(labels_of(cosines, found, 1), [[2, 0, 1, 1]])
    found[1] = False
    np.testing.assert_array_equal(labels_of(cosines, found, 1), [[1, 0, 1, 1]])


def test_a_speck_goes_to_the_next_object_that_is_found_there_or_to_none():
    cosines = np.zeros((2, 6, 8))
    cosines[0] = 0.5
    cosines[1, 2, 2] = 0.9  # of the other object, inside the first
    cosines[1, 0:2, 6:8] = 0.9
    found = np.zeros((2, 6, 8), bool)
    found[0, 1:5, 1:5] = True
    found[1, 2, 2] = found[1, 5, 7] = True  # the latter is all that is found there
    found[1, 0:2, 6:8] = True
    expected = np.zeros((6, 8))
    expected[1:5, 1:5], expected[0:2, 6:8] = 1, 2
    np.testing.assert_array_equal(labels_of(cosines, found, 4), expected)
    expected[0:2, 6:8] = 0
    np.testing.assert_array_equal(labels_of(cosines, found, 5), expected)


@pytest.mark.parametrize("least", [1, 2.5, 7, 40])
def test_what_is_left_is_large_and_large_regions_stay(least):
    random = np.random.default_rng(3)
    cosines, found = random.random((3, 30, 40)), random.random((3, 30, 40)) < 0.4
    labels, before = labels_of(cosines, found, least), labels_of(cosines, found, 0)
    for number in range(1, 4):
        sizes = np.bincount(label(labels == number)[0].ravel())[1:]
        assert (sizes >= least).all()
        regions, _ = label(before == number)
        large = (np.bincount(regions.ravel()) >= least)[regions] & (regions > 0)
        assert (labels[large] == number).all()
        assert found[number - 1][labels == number].all()
    assert (labels != before).any() == (least > 1)
