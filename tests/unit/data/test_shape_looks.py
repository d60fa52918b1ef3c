"""What classes look like: outlines, and parts drawn from a seed."""

import math

import numpy as np
import pytest

from umtfss.data.shape_art import fill
from umtfss.data.shape_looks import CLASS_NAMES, GRID, OUTLINES, UNIT_OUTLINES, class_looks
from umtfss.data.shape_textures import TEXTURES


def test_there_are_twenty_outlines_of_equal_area():
    assert len(CLASS_NAMES) == len(OUTLINES) == 20
    for loop in UNIT_OUTLINES:
        moved = loop * 40 + 120 * GRID
        assert fill([moved], 240, 240).sum() == pytest.approx(math.pi * 40**2, rel=0.01)


def test_outlines_are_distinct():
    silhouettes = [fill([loop * 20 + 50 * GRID], 100, 100) for loop in UNIT_OUTLINES]
    for i, one in enumerate(silhouettes):
        for other in silhouettes[:i]:
            overlap = np.minimum(one, other).sum() / np.maximum(one, other).sum()
            assert overlap < 0.97


@pytest.mark.parametrize("seed", range(20))
def test_no_two_classes_look_alike(seed):
    looks = class_looks(seed)
    assert len(looks) == len(set(looks)) == 20
    for place in (0, 1):
        parts = [look[place] for look in looks]
        # evenly spread hues: no part of another class has the hue
        assert sorted(round(20 * part.hue) for part in parts) == list(range(20))
    for body, inlay in looks:
        assert body.texture != inlay.texture
    bodies = [body.texture for body, _ in looks]
    assert set(bodies) == set(TEXTURES)
    assert max(map(bodies.count, bodies)) <= 2


def test_a_seed_is_a_world():
    assert class_looks(3) == class_looks(3)
    same = sum(one == other for one, other in zip(class_looks(3), class_looks(4), strict=True))
    assert same == 0


def test_a_mosaic_has_unlike_parts_of_its_own():
    looks = class_looks(0, parts=6)
    assert {len(look) for look in looks} == {6}
    assert len({part for look in looks for part in look}) == 120
    for look in looks:
        assert len({part.texture for part in look}) == 6
    hues = sorted(round(120 * part.hue) for look in looks for part in look)
    assert hues == list(range(120))
