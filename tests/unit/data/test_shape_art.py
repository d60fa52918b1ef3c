"""Drawing: outlines against an independent rasteriser, images against their fixed digest."""

import hashlib
import math

import numpy as np
import pytest
from skimage.draw import polygon2mask

from umtfss.data.shape_art import (
    CLASS_NAMES,
    GRID,
    OUTLINES,
    TEXTURES,
    UNIT_OUTLINES,
    draw,
    fill,
    value_noise,
)
from umtfss.data.shapes import DRAWING_VERSION
from umtfss.randomness import generator


def random_polygon(rng, vertices=9):
    return rng.integers(-5 * GRID, 55 * GRID, (vertices, 2))


@pytest.mark.parametrize("seed", range(5))
def test_fill_agrees_with_skimage(seed):
    loop = random_polygon(np.random.default_rng(seed))
    inside = fill([loop], 45, 50) >= 0.5
    # polygon2mask takes (row, column) with pixel centres at whole numbers.
    reference = polygon2mask((45, 50), loop[:, ::-1] / GRID - 0.5)
    assert reference.sum() > 100
    assert (inside != reference).mean() < 0.03  # they may differ along the outline


def test_fill_measures_areas():
    square = np.array([[10, 10], [30, 10], [30, 25], [10, 25]]) * GRID
    hole = np.array([[15, 15], [20, 15], [20, 20], [15, 20]]) * GRID
    coverage = fill([square, hole], 40, 40)
    assert coverage.sum() == pytest.approx(20 * 15 - 25)
    assert set(np.unique(coverage)) == {0, 1}


def test_there_are_twenty_outlines_of_equal_area():
    assert len(CLASS_NAMES) == len(OUTLINES) == 20
    for loops in UNIT_OUTLINES:
        moved = [loop * 40 + 120 * GRID for loop in loops]
        assert fill(moved, 240, 240).sum() == pytest.approx(math.pi * 40**2, rel=0.01)


def test_outlines_are_distinct():
    silhouettes = [
        fill([loop * 20 + 50 * GRID for loop in loops], 100, 100) for loops in UNIT_OUTLINES
    ]
    for i, one in enumerate(silhouettes):
        for other in silhouettes[:i]:
            overlap = np.minimum(one, other).sum() / np.maximum(one, other).sum()
            assert overlap < 0.93


def test_textures_stay_within_bounds():
    v, u = np.mgrid[-3:3:80j, -3:3:90j]
    for texture in (*TEXTURES, value_noise):
        share = texture(u + 40, v + 40, generator("t"))
        assert share.shape == u.shape
        assert share.min() >= 0
        assert share.max() <= 1
        assert share.std() > 0.1


def test_front_object_is_always_drawn_and_border_is_two_pixels_wide():
    for number in range(10):
        image, mask = draw([4, 3, 2, 1], 90, 120, generator("front", number))
        assert image.shape == (90, 120, 3)
        assert (mask == 1).sum() > 0.5 * math.pi * 0.14**2 * 90 * 120
        across = (mask[:, 1:] != mask[:, :-1]) & (mask[:, 1:] != 255) & (mask[:, :-1] != 255)
        assert not across.any()  # classes never touch without a border between
        assert 0.005 < (mask == 255).mean() < 0.2


@pytest.mark.parametrize("class_id", range(1, 21))
def test_front_object_counts_as_present(class_id):
    _, mask = draw([class_id % 20 + 1, class_id], 180, 240, generator("present", class_id))
    assert (mask == class_id).sum() >= 2048  # the size rule of the protocol


def test_drawing_is_the_same_on_every_machine():
    digest = hashlib.sha256()
    for class_id in range(1, 21):
        image, mask = draw([class_id], 64, 80, generator("fixed", class_id))
        digest.update(image.tobytes() + mask.tobytes())
    known = {1: "b15d6c10f080f6ee"}
    assert digest.hexdigest()[:16] == known[DRAWING_VERSION], (
        "the drawing changed: raise DRAWING_VERSION and add its digest here"
    )
