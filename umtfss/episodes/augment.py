"""Augmented views of an image and its mask.

Shapes: H W original pixels, P P view.

The image is scaled, rotated, blurred, flipped, padded at the right and at the bottom to at least
P x P, and cropped to P x P.
"""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms.v2 import functional as transforms

from umtfss.experiment.augment import AugmentConfig

OUTSIDE = 2
BLUR_KERNEL = [5, 5]


class View(NamedTuple):
    """The drawn parameters of an augmented view.

    Attributes:
        scale: Long side of the scaled image over P.
        angle: Angle of rotation, counter-clockwise, degrees; 0: no rotation.
        blur: Whether the image is blurred.
        flip: Whether the image is mirrored.
        top: First row of the crop, px.
        left: First column of the crop, px.
    """

    scale: float
    angle: float
    blur: bool
    flip: bool
    top: int
    left: int


def draw_view(
    settings: AugmentConfig, random: np.random.Generator, size: tuple[int, int], pixels: int
) -> tuple[View, float]:
    """Draw a view without the place of its crop, and a number in [0, 1) that decides this place.

    Args:
        settings: Probabilities and ranges.
        random: Draws every parameter, always the same number of times.
        size: (H, W).
        pixels: P.
    """
    scale = random.uniform(settings.scale_min, settings.scale_max)
    if settings.scale_of == "original":
        scale *= max(size) / pixels
    angle = random.uniform(-settings.rotate_degrees, settings.rotate_degrees)
    rotates, blurs, flips = random.random(3) < (settings.rotate, settings.blur, settings.flip)
    view = View(scale, angle if rotates else 0.0, bool(blurs), bool(flips), 0, 0)
    return view, random.random()


def uncropped_image(image: np.ndarray, view: View, pixels: int, mean: list[float]) -> Tensor:
    """The image before the crop, (3, at least P, at least P) float32 in [0, 1].

    Args:
        image: (H, W, 3) uint8.
        view: The view; its crop corner is not used.
        pixels: P, also the image's long side at scale 1.
        mean: Colour of pixels outside the image, in [0, 1].
    """
    size = _scaled(image.shape[:2], view, pixels)
    picture = tv_tensors.Image(torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1))
    picture = transforms.to_dtype(picture, torch.float32, scale=True)
    picture = transforms.resize(picture, size)
    if view.angle:
        bilinear = transforms.InterpolationMode.BILINEAR
        picture = transforms.rotate(picture, view.angle, interpolation=bilinear, fill=mean)
    if view.blur:
        picture = transforms.gaussian_blur(picture, BLUR_KERNEL)
    if view.flip:
        picture = transforms.horizontal_flip(picture)
    return transforms.pad(picture, _padding(size, pixels), fill=mean).as_subclass(Tensor)


def uncropped_mask(mask: np.ndarray, view: View, pixels: int) -> Tensor:
    """The mask before the crop, (at least P, at least P) uint8 in {0, 1, 2 (outside), 255}.

    Args:
        mask: (H, W) uint8 in {0, 1, 255}.
        view: The view; its crop corner is not used.
        pixels: P.
    """
    size = _scaled(mask.shape, view, pixels)
    labels = tv_tensors.Mask(torch.from_numpy(np.ascontiguousarray(mask))[None])
    labels = transforms.resize(labels, size)
    if view.angle:
        labels = transforms.rotate(labels, view.angle, fill=OUTSIDE)
    if view.flip:
        labels = transforms.horizontal_flip(labels)
    return transforms.pad(labels, _padding(size, pixels), fill=OUTSIDE)[0].as_subclass(Tensor)


def crop(uncropped: Tensor, view: View, pixels: int) -> Tensor:
    """The view's P x P pixels of an uncropped image or mask, (..., P, P)."""
    return uncropped[..., view.top : view.top + pixels, view.left : view.left + pixels]


def _scaled(size: tuple[int, ...], view: View, pixels: int) -> list[int]:
    factor = view.scale * pixels / max(size)
    return [max(1, round(length * factor)) for length in size]


def _padding(size: list[int], pixels: int) -> list[int]:
    """The padding at the left, top, right and bottom, px."""
    return [0, 0, max(0, pixels - size[1]), max(0, pixels - size[0])]
