"""Where tokens lie on the image."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as nnf

from umtfss.episodes.geometry import (
    cell_weights,
    check_grid,
    grid_side,
    mask_to_grid,
    mask_to_target,
)
from umtfss.errors import StoreError


@pytest.mark.parametrize(
    ("long_side", "multiple", "stride", "align", "side"),
    [(473, 8, 8, True, 60), (420, 14, 14, False, 30), (473, 14, 14, False, 33)],
)
def test_the_padded_grid_holds_the_long_side(
    long_side: int, multiple: int, stride: int, align: bool, side: int
) -> None:
    assert grid_side(long_side, multiple, stride, align) == side


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
