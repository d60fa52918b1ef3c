"""Where tokens lie on the image."""

from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as nnf

from umtfss.common.errors import StoreError
from umtfss.features.geometry import (
    GridGeometry,
    cell_weights,
    check_grid,
    crop_corner,
    mask_to_grid,
    mask_to_target,
    sampled_mask,
    token_pixels,
)


@pytest.mark.parametrize(
    ("long_side", "multiple", "stride", "align", "side"),
    [(473, 8, 8, True, 60), (420, 14, 14, False, 30), (473, 14, 14, False, 33)],
)
def test_the_padded_grid_holds_the_long_side(
    long_side: int, multiple: int, stride: int, align: bool, side: int
) -> None:
    assert GridGeometry({}, long_side, stride, multiple, align).side == side


def test_a_grid_that_does_not_fit_is_refused() -> None:
    check_grid((30, 20), 30, "pascal/a")
    with pytest.raises(StoreError, match=r"pascal/a do not fit.*\n.*30 x 30"):
        check_grid((20, 31), 30, "pascal/a")


@settings(deadline=None)
@given(st.integers(1, 40), st.integers(2, 300), st.booleans())
def test_cells_cover_the_image_once(tokens: int, pixels: int, align: bool) -> None:
    weights = cell_weights(tokens, pixels, align)
    np.testing.assert_allclose(weights.sum(1), 1, rtol=1e-5)
    assert (weights >= 0).all()
    if not align:
        np.testing.assert_allclose(weights.sum(0) * pixels / tokens, 1, rtol=1e-3)


@settings(deadline=None)
@given(st.integers(1, 6), st.integers(1, 6), st.integers(1, 5), st.integers(0, 9))
def test_patches_average_as_average_pooling(h: int, w: int, patch: int, seed: int) -> None:
    mask = np.random.default_rng(seed).integers(0, 2, (h * patch, w * patch)).astype(np.uint8)
    part, valid = mask_to_grid(mask, (h, w), align=False)
    expected = nnf.avg_pool2d(torch.from_numpy(mask)[None].float(), patch)[0]
    np.testing.assert_allclose(part, expected, atol=1e-6)
    assert valid.all()


def test_ignored_pixels_count_neither_way() -> None:
    mask = np.zeros((4, 8), np.uint8)
    mask[:, 0] = 1
    mask[:, 1:3] = 255  # token 0: one column fg, two ignored, one bg
    mask[:2, 4:] = 255  # token 1: half is labelled, all background
    part, valid = mask_to_grid(mask, (1, 2), align=False)
    assert valid.tolist() == [[True, True]]
    np.testing.assert_allclose(part, [[0.5, 0]])
    mask[:, 3] = 255  # a quarter of token 0 is left
    part, valid = mask_to_grid(mask, (1, 2), align=False)
    assert valid.tolist() == [[False, True]]
    assert part[0, 0] == 0


@pytest.mark.parametrize("align", [False, True])
@pytest.mark.parametrize(("grid", "side"), [((7, 10), 10), ((10, 4), 10), ((10, 10), 10)])
def test_target_shows_the_label_where_the_upsampled_logits_fall(
    align: bool, grid: tuple[int, int], side: int
) -> None:
    """Tokens hold their own pixel position; upsampled, they name the pixel the target shows."""
    height, width, target = 150, 215, 100
    step = [
        (n - 1) / (t - 1) if align else n / t for n, t in zip((height, width), grid, strict=True)
    ]
    shift = [0 if align else s / 2 - 0.5 for s in step]
    rows = torch.arange(side) * step[0] + shift[0]
    columns = torch.arange(side) * step[1] + shift[1]
    position = torch.stack(torch.meshgrid(rows, columns, indexing="ij"))[None].double()
    upsampled = nnf.interpolate(position, (target, target), mode="bilinear", align_corners=align)[
        0
    ].numpy()
    row_of = np.repeat(np.arange(height, dtype=np.uint8)[:, None], width, 1)
    column_of = np.repeat(np.arange(width, dtype=np.uint8)[None], height, 0)
    inner = slice(target // side, -(target // side))  # interpolate clamps at the very edge
    for image, where, length in ((row_of, upsampled[0], height), (column_of, upsampled[1], width)):
        shown = mask_to_target(image, grid, side, target, align)[inner, inner].astype(float)
        where = where[inner, inner]
        seen = shown != 255
        assert np.abs(shown - where)[seen].max() <= 0.5 + 1e-6
        assert ((where > -0.5) & (where < length - 0.5))[seen].all()
    # What is not shown is outside.
    outside = (upsampled[0] > height - 0.5 + 1e-6) | (upsampled[1] > width - 0.5 + 1e-6)
    shown = mask_to_target(row_of, grid, side, target, align)
    assert (shown[outside] == 255).all()
    assert (shown[inner, inner] == 255).mean() == pytest.approx(
        outside[inner, inner].mean(), abs=0.01
    )


@settings(deadline=None)
@given(st.integers(0, 10_000), st.floats(0, 1), st.floats(0, 0.999), st.booleans())
def test_a_crop_keeps_enough_foreground_or_most(
    seed: int, keep: float, position: float, soft: bool
) -> None:
    rng = np.random.default_rng(seed)
    height, width = rng.integers(5, 14, 2)
    high, wide = rng.integers(1, 6, 2).tolist()
    foreground = rng.random((height, width))
    if not soft:
        foreground = foreground < rng.random()
    top, left = crop_corner(foreground, high, wide, keep, position)
    kept = {
        (y, x): foreground[y : y + high, x : x + wide].sum()
        for y in range(height - high + 1)
        for x in range(width - wide + 1)
    }
    assert kept[top, left] >= min(keep * foreground.sum(), max(kept.values())) - 1e-9


def test_every_good_crop_is_drawn() -> None:
    foreground = np.zeros((6, 7), bool)
    foreground[1:5, 2:4] = True
    corners = {crop_corner(foreground, 5, 5, 1.0, p) for p in np.linspace(0, 0.999, 50)}
    assert corners == {(y, x) for y in (0, 1) for x in (0, 1, 2)}
    whole = crop_corner(foreground, 6, 7, 1.0, 0.5)
    assert whole == (0, 0)


def exact_rows(target: int, side: int, step: int, pixels: int, align: bool) -> list[int | None]:
    """The pixel of an image that each row of the target shows, in exact arithmetic.

    Tokens lie `step` px apart. -1 is outside; none: halfway between two pixels.
    """
    rows: list[int | None] = []
    for row in range(target):
        if align:
            pixel = Fraction(row * (side - 1) * step, max(target - 1, 1))
        else:
            pixel = Fraction((2 * row + 1) * side * step, 2 * target) - Fraction(1, 2)
        nearest = pixel + Fraction(1, 2)
        inside = 0 <= nearest < pixels
        rows.append(None if nearest.denominator == 1 else int(nearest // 1) if inside else -1)
    return rows


@settings(deadline=None, max_examples=200)
@given(
    st.tuples(st.integers(2, 6), st.integers(2, 6)),
    st.integers(1, 7),
    st.integers(2, 60),
    st.booleans(),
    st.integers(0, 10_000),
)
def test_the_target_shows_the_pixels_that_exact_arithmetic_names(
    grid: tuple[int, int], step: int, target: int, align: bool, seed: int
) -> None:
    """Tokens a whole number of pixels apart: the places have exact fractions."""
    pixels = [(tokens - 1) * step + 1 if align else tokens * step for tokens in grid]
    mask = np.random.default_rng(seed).integers(0, 3, pixels).astype(np.uint8)
    mask[mask == 2] = 255
    shown = mask_to_target(mask, grid, 6, target, align)
    rows, columns = (exact_rows(target, 6, step, length, align) for length in pixels)
    for row, y in enumerate(rows):
        for column, x in enumerate(columns):
            if y is not None and x is not None:
                assert shown[row, column] == (255 if min(x, y) < 0 else mask[y, x])


@pytest.mark.parametrize("align", [False, True])
def test_single_pixels_are_those_of_torch(align: bool) -> None:
    """At 8 px a token, corners aligned, the first is bilinear interpolation; the second nearest."""
    random = np.random.default_rng(0)
    side = 8 * 8 + 1 if align else 8 * 9
    mask = random.choice(np.array([0, 1, 255], np.uint8), (side, side))
    found = sampled_mask(mask, (9, 9), align)
    assert found.dtype == np.uint8
    whole = torch.from_numpy(mask)[None, None].float()
    nearest = nnf.interpolate(whole, (9, 9), mode="nearest")[0, 0]
    np.testing.assert_array_equal(found[1], nearest)
    if align:
        bilinear = nnf.interpolate(whole, (9, 9), mode="bilinear", align_corners=True)[0, 0]
        np.testing.assert_array_equal(found[0], bilinear)
    else:
        np.testing.assert_array_equal(found[0], mask[4::8, 4::8])


def test_single_pixels_stay_inside_a_small_image() -> None:
    for pixels in (1, 2, 3, 50):
        for align in (False, True):
            found = token_pixels(7, pixels, align)
            assert found.shape == (2, 7)
            assert found.min() >= 0
            assert found.max() < pixels
