"""Textures of the procedural data set."""

import numpy as np
import pytest

from umtfss.common.randomness import generator
from umtfss.data.shape_textures import TEXTURES, edge, value_noise, wave

V, U = np.mgrid[-3:3:80j, -3:3:90j]


@pytest.mark.parametrize("name", TEXTURES)
def test_a_texture_mixes_two_colours(name):
    share = TEXTURES[name](U, V)
    assert share.shape == U.shape
    assert 0 <= share.min() < 0.2
    assert 0.6 < share.max() <= 1
    assert share.std() > 0.1


def test_textures_are_unlike_each_other():
    shares = [texture(U, V).ravel() for texture in TEXTURES.values()]
    alike = np.abs(np.corrcoef(shares)) - np.eye(len(shares))
    assert alike.max() < 0.9


def test_noise_is_smooth_and_within_bounds():
    noise = value_noise(U, V, generator("t"))
    assert 0 <= noise.min() < noise.max() <= 1
    assert np.abs(np.diff(noise, axis=0)).max() < 0.3


def test_a_wave_has_period_two_and_an_edge_is_soft():
    np.testing.assert_allclose(wave(np.array([0.0, 0.5, 1.0, 1.5, 2.0])), [1, 0.5, 0, 0.5, 1])
    np.testing.assert_allclose(edge(np.array([0.0, 0.46, 0.5, 1.0])), [0, 0.25, 0.5, 1])
