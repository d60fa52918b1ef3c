"""The salient region of made-up token grids."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from umtfss.pseudo_masks.saliency import REST, SALIENT, salient_pixels, spectral_saliency


def two_regions(seed=0, height=12, width=16, noise=0.3, channels=16):
    """Tokens of an object on a background, both noisy, and the object's mask."""
    rng = np.random.default_rng(seed)
    top, left = rng.integers(1, height - 6), rng.integers(1, width - 7)
    mask = np.zeros((height, width), bool)
    mask[top : top + rng.integers(3, 6), left : left + rng.integers(3, 7)] = True
    means = rng.standard_normal((2, channels))
    tokens = means[mask.astype(int)] + noise * rng.standard_normal((height, width, channels))
    return tokens.astype(np.float32), mask


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6))
def test_the_object_is_found(seed):
    tokens, mask = two_regions(seed)
    np.testing.assert_array_equal(spectral_saliency(tokens) > 0, mask)


@pytest.mark.parametrize("size", [1, 7.5])
def test_an_offset_that_all_tokens_share_and_their_length_do_not_matter(size):
    """Activations are seldom centred: every cosine is then far above a fixed threshold."""
    tokens, mask = two_regions(1)
    score = spectral_saliency(size * (tokens + 3))
    np.testing.assert_array_equal(score > 0, mask)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([(0,), (1,), (0, 1)]))
def test_a_mirrored_image_has_the_mirrored_region(seed, axes):
    tokens, _ = two_regions(seed, noise=1.0)
    score = spectral_saliency(tokens)
    mirrored = spectral_saliency(np.flip(tokens, axes))
    np.testing.assert_allclose(np.flip(mirrored, axes), score, atol=1e-4 * np.abs(score).max())


def test_the_order_of_channels_and_rows_decides_nothing_but_the_border():
    tokens, _ = two_regions(3, noise=1.0)
    rng = np.random.default_rng(0)
    score = spectral_saliency(tokens)
    channels = spectral_saliency(tokens[:, :, rng.permutation(tokens.shape[2])])
    np.testing.assert_allclose(channels, score, atol=1e-4)
    # the order of inner rows moves no token to the border
    rows = np.r_[0, 1 + rng.permutation(len(tokens) - 2), len(tokens) - 1]
    np.testing.assert_allclose(spectral_saliency(tokens[rows]), score[rows], atol=1e-4)


def test_the_side_at_the_border_is_not_salient():
    """The object is larger than what surrounds it."""
    tokens, _ = two_regions(0)
    object_token, ground = np.eye(2, 16, dtype=np.float32)
    tokens = np.broadcast_to(object_token, tokens.shape).copy()
    tokens[[0, -1]], tokens[:, [0, -1]] = ground, ground
    score = spectral_saliency(tokens)
    assert (score[1:-1, 1:-1] > 0).all()
    assert (score > 0).sum() == 10 * 14


@pytest.mark.parametrize("shape", [(1, 1), (1, 2), (1, 9), (2, 2), (3, 1)])
def test_the_smallest_grids_have_finite_scores(shape):
    tokens = np.random.default_rng(0).standard_normal((*shape, 4)).astype(np.float32)
    for values in (tokens, 0 * tokens, 0 * tokens + 1):
        score = spectral_saliency(values)
        assert score.shape == shape
        assert score.dtype == np.float32
        assert np.isfinite(score).all()


def test_a_zero_token_belongs_to_no_object():
    tokens, mask = two_regions(2)
    tokens[0, 0] = 0
    score = spectral_saliency(tokens)
    np.testing.assert_array_equal(score[1:] > 0, mask[1:])


@pytest.mark.parametrize("align", [False, True])
def test_pixels_are_those_of_the_upsampled_score(align):
    tokens, mask = two_regions(4)
    size = (111, 151) if align else (120, 160)
    labels = salient_pixels(tokens.reshape(-1, 16), (12, 16), size, align)
    assert labels.dtype == np.uint8
    assert labels.shape == size
    assert set(np.unique(labels)) == {SALIENT, REST}
    # at the tokens' own pixels the label is the token's
    own = labels[::10, ::10] if align else labels[5::10, 5::10]
    np.testing.assert_array_equal(own == SALIENT, mask)
