"""Assignment against distances computed one by one and a bilinear map written out."""

import numpy as np
import pytest

from umtfss.pseudo_masks.assign import assign_pixels


def positions(pixels, cells, align_corners):
    """Where each pixel lies on the grid, in cells."""
    at = np.arange(pixels)
    if align_corners:
        return at * (cells - 1) / (pixels - 1)
    return ((at + 0.5) * cells / pixels - 0.5).clip(0, cells - 1)


def bilinear(maps, size, align_corners):
    """(N, h, w) -> (N, H, W), one axis after the other."""
    for axis, pixels in zip((1, 2), size, strict=True):
        cells = maps.shape[axis]
        at = positions(pixels, cells, align_corners)
        low = np.minimum(np.floor(at).astype(int), cells - 1)
        high = np.minimum(low + 1, cells - 1)
        part = (at - low).reshape([-1 if a == axis else 1 for a in range(3)])
        maps = maps.take(low, axis) * (1 - part) + maps.take(high, axis) * part
    return maps


@pytest.mark.parametrize("align_corners", [True, False])
@pytest.mark.parametrize(("grid", "size"), [((4, 6), (31, 45)), ((3, 3), (48, 20))])
def test_nearest_centre_of_upsampled_scores(grid, size, align_corners):
    rng = np.random.default_rng(0)
    tokens = rng.standard_normal((grid[0] * grid[1], 5)).astype(np.float32)
    tokens /= np.linalg.norm(tokens, axis=1, keepdims=True)
    centroids = rng.standard_normal((7, 5)).astype(np.float32) * rng.random((7, 1), np.float32)
    labels = assign_pixels(tokens, grid, centroids, size, align_corners)
    distance = ((tokens[:, None].astype(float) - centroids) ** 2).sum(-1)
    scores = bilinear(-distance.T.reshape(7, *grid), size, align_corners)
    assert labels.shape == size
    assert labels.dtype == np.uint8
    best = np.sort(scores, axis=0)
    clear = best[-1] - best[-2] > 1e-5
    assert clear.mean() > 0.99
    np.testing.assert_array_equal(labels[clear], scores.argmax(0)[clear])


def test_one_pixel_per_token_is_the_nearest_centre_in_l2():
    rng = np.random.default_rng(1)
    tokens = rng.standard_normal((20, 3)).astype(np.float32)
    centroids = rng.standard_normal((254, 3)).astype(np.float32)
    labels = assign_pixels(tokens, (4, 5), centroids, (4, 5), False)
    nearest = ((tokens[:, None] - centroids) ** 2).sum(-1).argmin(1)
    np.testing.assert_array_equal(labels.ravel(), nearest)
