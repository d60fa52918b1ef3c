"""Augmented views of an image: the geometry that image and mask follow."""

import numpy as np
import pytest
from scipy import ndimage

from umtfss.common.randomness import generator
from umtfss.episodes.augment import OUTSIDE, View, crop, draw_view, uncropped_image, uncropped_mask
from umtfss.experiment.augment import AugmentConfig

PIXELS = 90
WIDE = AugmentConfig(scale_min=0.7, scale_max=1.4, rotate_degrees=30, rotate=0.8)
MEAN = [0.5, 0.5, 0.5]


def blobs(size: tuple[int, int]) -> np.ndarray:
    """A mask with foreground and ignored areas, (H, W) in {0, 1, 255}."""
    row, column = np.indices(size)
    mask = ((row - 0.4 * size[0]) ** 2 + (column - 0.6 * size[1]) ** 2 < 300).astype(np.uint8)
    mask[-12:, :15] = 255
    return mask


def warped(mask: np.ndarray, view: View) -> np.ndarray:
    """The mask by one affine map from view to image, with scipy instead of torchvision."""
    height, width = (max(1, round(s * view.scale * PIXELS / max(mask.shape))) for s in mask.shape)
    centre = np.array([height / 2, width / 2])
    angle = np.deg2rad(view.angle)
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    zoom = np.diag([mask.shape[0] / height, mask.shape[1] / width])
    mirror = np.diag([1.0, -1.0 if view.flip else 1.0])
    # edge coordinates: view -> uncropped -> mirrored and turned back about the centre -> image
    matrix = zoom @ turn @ mirror
    corner = np.array([view.top, view.left])
    offset = matrix @ (corner + 0.5 - centre) + zoom @ centre - 0.5
    found = ndimage.affine_transform(
        mask, matrix, offset, (PIXELS, PIXELS), order=0, mode="constant", cval=OUTSIDE
    )
    found[max(0, height - view.top) :] = OUTSIDE  # what is turned out of the image is lost
    found[:, max(0, width - view.left) :] = OUTSIDE
    return found


@pytest.mark.parametrize("size", [(60, 90), (90, 50), (131, 131)])
@pytest.mark.parametrize("number", range(1, 8))
def test_a_mask_follows_the_geometry(size: tuple[int, int], number: int) -> None:
    view, position = draw_view(WIDE, generator("view", number), size, PIXELS)
    view = view._replace(flip=number % 2 == 0)
    mask = blobs(size)
    whole = uncropped_mask(mask, view, PIXELS)
    top, left = (int(position * (side - PIXELS + 1)) for side in whole.shape)
    view = view._replace(top=top, left=left)
    found, expected = crop(whole, view, PIXELS).numpy(), warped(mask, view)
    assert found.dtype == np.uint8
    differs = found != expected
    # two roundings to the nearest pixel instead of one: at borders only
    low, high = (f(expected, 5, mode="nearest") for f in (ndimage.minimum_filter,
                 ndimage.maximum_filter))  # fmt: skip
    assert not differs[low == high].any()
    assert differs.mean() < 0.06
    assert (found == 1).sum() == pytest.approx((expected == 1).sum(), rel=0.1)


def test_an_image_follows_the_geometry_of_its_mask() -> None:
    """The red of an image lies where its mask is, whatever is drawn."""
    mask = blobs((60, 90)) == 1
    image = np.stack([mask * np.uint8(255), 0 * mask, 0 * mask], 2).astype(np.uint8)
    for number in range(8):
        view, _ = draw_view(WIDE, generator("view", number), (60, 90), PIXELS)
        labels = uncropped_mask(mask.astype(np.uint8), view, PIXELS).numpy()
        red = uncropped_image(image, view, PIXELS, MEAN)[0].numpy()
        assert labels.shape == red.shape
        assert (red > 0.5)[labels == 1].mean() > 0.85
        assert (red > 0.5)[labels == 0].mean() < 0.05


@pytest.mark.parametrize("size", [(60, 90), (375, 500), (30, 40)])
def test_what_is_scaled_is_the_original_or_the_fitted_image(size: tuple[int, int]) -> None:
    settings = {"scale_min": 0.8, "scale_max": 1.25}
    for kind, length in (("fitted", PIXELS), ("original", max(size))):
        for key in range(20):
            drawn = generator("scale", key).uniform(0.8, 1.25)
            augment = AugmentConfig(scale_of=kind, rotate=0, **settings)
            view, _ = draw_view(augment, generator("scale", key), size, PIXELS)
            shown = uncropped_mask(np.zeros(size, np.uint8), view, PIXELS) != OUTSIDE
            ratio = length * drawn / max(size)
            assert int(shown.sum()) == pytest.approx(size[0] * size[1] * ratio**2, rel=0.05)
