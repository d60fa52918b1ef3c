"""The vote against counting label by label, and the superpixels against a plain image."""

from collections import Counter

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from umtfss.config import PseudoMasksConfig
from umtfss.pseudo_masks.superpixels import felzenszwalb_superpixels, majority_vote

maps = hnp.arrays(np.uint8, (6, 5), elements=st.integers(0, 4))


@settings(deadline=None)
@given(maps, maps)
def test_vote_is_the_most_common_label_lowest_first(labels, superpixels):
    voted = majority_vote(labels, superpixels.astype(np.int64))
    assert voted.dtype == np.uint8
    for superpixel in np.unique(superpixels):
        inside = superpixels == superpixel
        counts = Counter(labels[inside].tolist())
        most = min(c for c, n in counts.items() if n == max(counts.values()))
        assert (voted[inside] == most).all()


def test_vote_of_high_labels_does_not_overflow():
    labels = np.full((4, 4), 253, np.uint8)
    np.testing.assert_array_equal(majority_vote(labels, np.arange(16).reshape(4, 4)), labels)


def test_superpixels_keep_to_the_edge_of_two_colours():
    image = np.zeros((60, 80, 3), np.uint8)
    image[:, 33:] = (200, 30, 90)
    superpixels = felzenszwalb_superpixels(image, PseudoMasksConfig())
    assert len(np.unique(superpixels)) == 2
    assert superpixels.min() == 0
    labels = np.zeros((60, 80), np.uint8)
    labels[:, 40:] = 1  # seven columns off the edge
    np.testing.assert_array_equal(majority_vote(labels, superpixels), image[..., 0] > 0)


def test_no_superpixel_is_smaller_than_min_size():
    image = np.random.default_rng(0).integers(0, 256, (80, 90, 3), np.uint8)
    settings = PseudoMasksConfig(min_size=150, scale=1)
    superpixels = felzenszwalb_superpixels(image, settings)
    assert np.bincount(superpixels.ravel()).min() >= 150
    assert superpixels.max() > 5
