"""Augmented views of an image and its mask.

Shapes: N images, H W original pixels, h w scaled pixels, P P view.

Image and mask are scaled, rotated, flipped, padded at the right and at the bottom to at least
P x P, and cropped to P x P; images may be blurred. Workers scale images and make masks; the model's
device does the rest for all images of a batch at once.
"""

import math
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import conv2d, grid_sample
from torchvision import tv_tensors
from torchvision.transforms.v2 import functional as transforms

from umtfss.experiment.augment import AugmentConfig

OUTSIDE = 2
BLUR_KERNEL = 5  # px


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


def scaled_image(image: np.ndarray, view: View, pixels: int) -> Tensor:
    """The image at the view's scale, (3, h, w) uint8; `viewed` does the rest.

    Args:
        image: (H, W, 3) uint8.
        view: The view.
        pixels: P, also the image's long side at scale 1.
    """
    picture = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)
    return transforms.resize(picture, _scaled(image.shape[:2], view, pixels))


def place_of(view: View, scaled: Tensor) -> Tensor:
    """What `viewed` needs of a view and of its scaled image, (7,) float32."""
    _, angle, blur, flip, top, left = view
    return torch.tensor([*scaled.shape[1:], math.radians(angle), blur, flip, top, left])


def viewed(images: Tensor, places: Tensor, pixels: int, mean: Tensor) -> Tensor:
    """Views of scaled images, on their device in one pass for all, (N, 3, P, P) float32 in [0, 1].

    Each view is blurred, rotated, mirrored, padded and cropped with one bilinear interpolation.

    Args:
        images: (N, 3, h, w) uint8, scaled images with anything at the right and at the bottom.
        places: (N, 7) float32, of `place_of`.
        pixels: P.
        mean: (1, 3, 1, 1) colour of pixels outside an image, in [0, 1].
    """
    down, across = images.shape[2:]
    height, width, angle, blur, flip, top, left = places.t()[..., None, None]
    rows, columns = (torch.arange(n, device=images.device) for n in (down, across))
    inside = (rows[:, None] < height) & (columns < width)
    scaled = torch.cat([images / 255, inside[:, None].float()], 1) * inside[:, None]
    scaled = torch.where(blur[:, None] > 0, _blurred(scaled), scaled)

    # from pixels of the view (edge coordinates) to the image before mirroring and rotation
    at = torch.arange(pixels, device=images.device) + 0.5
    y, x = at[:, None] + top, at + left
    shown = (y < height) & (x < width)  # what a rotation moves out of the image is lost
    y, x = y - height / 2, torch.where(flip > 0, -1, 1) * (x - width / 2)
    source = (
        2 * (width / 2 + angle.cos() * x - angle.sin() * y) / across - 1,
        2 * (height / 2 + angle.cos() * y + angle.sin() * x) / down - 1,
    )
    sampled = grid_sample(scaled, torch.stack(source, 3), align_corners=False)
    part = sampled[:, 3:] * shown[:, None]
    return sampled[:, :3] * shown[:, None] + (1 - part) * mean


def _blurred(scaled: Tensor) -> Tensor:
    """Colours and a last channel of where they are, blurred within the image, (N, 4, h, w)."""
    sigma = 0.15 * BLUR_KERNEL + 0.35  # torchvision's
    offset = torch.arange(BLUR_KERNEL, device=scaled.device) - BLUR_KERNEL // 2
    kernel = (-0.5 * (offset / sigma).square()).exp()
    kernel = (kernel[:, None] * kernel / kernel.sum() ** 2).expand(4, 1, -1, -1)
    scaled = scaled.contiguous(memory_format=torch.channels_last)  # eight times as fast on a CPU
    blurred = conv2d(scaled, kernel, padding=BLUR_KERNEL // 2, groups=4)
    inside = scaled[:, 3:]
    return torch.cat([blurred[:, :3] / blurred[:, 3:].clamp(min=0.1) * inside, inside], 1)


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
    """The view's P x P pixels of an uncropped mask, (..., P, P)."""
    return uncropped[..., view.top : view.top + pixels, view.left : view.left + pixels]


def _scaled(size: tuple[int, ...], view: View, pixels: int) -> list[int]:
    factor = view.scale * pixels / max(size)
    return [max(1, round(length * factor)) for length in size]


def _padding(size: list[int], pixels: int) -> list[int]:
    """The padding at the left, top, right and bottom, px."""
    return [0, 0, max(0, pixels - size[1]), max(0, pixels - size[0])]
