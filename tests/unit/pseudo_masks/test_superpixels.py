"""Votes and means against counting one by one, superpixels against a plain image and from disk."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage

from umtfss.common.errors import StoreError
from umtfss.experiment.pseudo_masks import PseudoMasksConfig
from umtfss.pseudo_masks.superpixels import (
    SuperpixelStore,
    blend_means,
    felzenszwalb_superpixels,
    majority_vote,
    write_superpixels,
)

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


@settings(deadline=None)
@given(
    hnp.arrays(np.float32, (6, 5), elements=st.floats(-4, 4, width=32)),
    maps,
    st.sampled_from([0.0, 0.3, 1.0]),
)
def test_a_part_of_the_score_is_the_mean_of_its_superpixel(score, superpixels, part):
    blended = blend_means(score, superpixels.astype(np.uint16), part)
    used = np.unique(superpixels)
    means = np.zeros(5)
    means[used] = ndimage.mean(score, superpixels, used)
    means = means[superpixels]
    np.testing.assert_allclose(blended, (1 - part) * score + part * means, atol=1e-5)
    assert blended.dtype == np.float32


def photos(count: int) -> list[tuple[str, np.ndarray]]:
    random = np.random.default_rng(3)
    sizes = random.integers(40, 90, (count, 2))
    return [
        (f"set/{row}", random.integers(0, 256, (*size, 3), np.uint8))
        for row, size in enumerate(sizes)
    ]


def test_superpixels_are_read_as_they_were_found(tmp_path):
    chosen, images = PseudoMasksConfig(scale=1, min_size=20), photos(5)
    paths = [tmp_path / "a.h5", tmp_path / "b.h5"]
    write_superpixels(images[:3], chosen, paths[0])
    write_superpixels(images[3:], chosen, paths[1])
    store = SuperpixelStore(paths)
    for image_id, image in reversed(images):
        found = felzenszwalb_superpixels(image, chosen)
        assert found.max() > 3
        np.testing.assert_array_equal(store.read(image_id), found)
    write_superpixels(images[3:], chosen, tmp_path / "again.h5")
    assert (tmp_path / "again.h5").read_bytes() == paths[1].read_bytes()
    with pytest.raises(StoreError, match="no superpixels of image set/9"):
        store.read("set/9")


def test_a_stopped_job_leaves_no_superpixels(tmp_path):
    def stopped():
        yield from photos(1)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_superpixels(stopped(), PseudoMasksConfig(), tmp_path / "a.h5")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(StoreError, match=r"a\.json does not exist"):
        SuperpixelStore([tmp_path / "a.h5"])


def test_a_number_without_a_pixel_divides_by_no_zero():
    score, superpixels = np.array([[1.0, 3.0]]), np.array([[0, 2]])
    with np.errstate(all="raise"):
        np.testing.assert_array_equal(blend_means(score, superpixels, 0.5), score)
