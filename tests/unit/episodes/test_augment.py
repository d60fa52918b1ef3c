"""Augmented views of an image: the geometry that image and mask follow."""

import numpy as np
import pytest
import torch
from scipy import ndimage
from torchvision.transforms.v2 import functional as transforms

from umtfss.common.randomness import generator
from umtfss.episodes.augment import (
    OUTSIDE,
    View,
    crop,
    draw_view,
    place_of,
    scaled_image,
    uncropped_mask,
    viewed,
)
from umtfss.experiment.augment import AugmentConfig

PIXELS = 90
WIDE = AugmentConfig(scale_min=0.7, scale_max=1.4, rotate_degrees=30, rotate=0.8)
MEAN = [0.2, 0.5, 0.7]


def torchvision_view(image: np.ndarray, view: View) -> torch.Tensor:
    """The view by torchvision's functions one after another, image by image."""
    scaled = scaled_image(image, view, PIXELS).float() / 255
    height, width = scaled.shape[1:]
    bilinear = transforms.InterpolationMode.BILINEAR
    picture = transforms.rotate(scaled, view.angle, interpolation=bilinear, fill=MEAN)
    if view.blur:
        picture = transforms.gaussian_blur(picture, [5, 5])
    if view.flip:
        picture = transforms.horizontal_flip(picture)
    below, beside = (max(0, PIXELS - side) for side in (height, width))
    return crop(transforms.pad(picture, [0, 0, beside, below], fill=MEAN), view, PIXELS)


def batch_of_views(images: list[np.ndarray], views: list[View]) -> torch.Tensor:
    """The views of several images at once."""
    scaled = [scaled_image(image, view, PIXELS) for image, view in zip(images, views, strict=True)]
    height, width = (max(one.shape[axis] for one in scaled) for axis in (1, 2))
    padded = torch.full((len(scaled), 3, height, width), 99, dtype=torch.uint8)
    for one, row in zip(scaled, padded, strict=True):
        row[:, : one.shape[1], : one.shape[2]] = one
    places = torch.stack([place_of(*pair) for pair in zip(views, scaled, strict=True)])
    return viewed(padded, places, PIXELS, torch.tensor(MEAN).view(1, 3, 1, 1))


def smooth(size: tuple[int, int]) -> np.ndarray:
    """A colourful image without edges, (H, W, 3) uint8."""
    row, column = np.indices(size)
    waves = [np.sin(row / 9), np.cos(column / 7), np.sin((row + column) / 11)]
    return (127 + 100 * np.stack(waves, 2)).astype(np.uint8)


def test_a_batch_equals_torchvision_one_by_one() -> None:
    """To 0.01 on average; but at the image's border, where blur and rotation mix less, to 0.03."""
    sizes = [(60, 90), (90, 50), (131, 131), (80, 85)] * 6
    views = []
    for number, size in enumerate(sizes):
        view, position = draw_view(WIDE, generator("view", number), size, PIXELS)
        height, width = scaled_image(smooth(size), view, PIXELS).shape[1:]
        corner = (int(position * max(0, side - PIXELS)) for side in (height, width))
        views.append(view._replace(**dict(zip(("top", "left"), corner, strict=True))))
    assert {(one.blur, one.flip) for one in views} == {(a, b) for a in (0, 1) for b in (0, 1)}
    found = batch_of_views([smooth(size) for size in sizes], views)
    assert found.dtype == torch.float32
    for one, size, view in zip(found, sizes, views, strict=True):
        expected = torchvision_view(smooth(size), view)
        error = (one - expected).abs()
        assert error.mean() < (0.01 if view.angle else 0.002), view
        inner = torchvision_view(np.full((*size, 3), 255, np.uint8), view)
        inside = (inner > 0.999).all(0)
        inside = ndimage.binary_erosion(inside.numpy(), iterations=3)
        assert error[:, inside].max() < 0.03, view
        filled = (inner == torch.tensor(MEAN)[:, None, None]).all(0)
        outside = ndimage.binary_erosion(filled, iterations=3)
        assert (one[:, outside] == torch.tensor(MEAN)[:, None]).all()


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
        labels = crop(uncropped_mask(mask.astype(np.uint8), view, PIXELS), view, PIXELS).numpy()
        red = batch_of_views([image], [view])[0, 0].numpy()
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
