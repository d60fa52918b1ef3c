"""Superpixels: votes and means that follow the edges of the image.

Shapes: H W pixels, S superpixels, N clusters.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Protocol

import h5py
import numpy as np

from umtfss.common.errors import StoreError
from umtfss.common.hdf5 import FileKind

KIND = FileKind("umtfss-superpixels", 1, "a file of superpixels")


class SuperpixelSettings(Protocol):
    """The settings of superpixels; the block `pseudo_masks` implements them."""

    @property
    def scale(self) -> float:
        """Felzenszwalb scale: larger gives larger superpixels."""

    @property
    def sigma(self) -> float:
        """Standard deviation of the smoothing before segmentation, px."""

    @property
    def min_size(self) -> int:
        """Smallest superpixel, px."""


def felzenszwalb_superpixels(image: np.ndarray, settings: SuperpixelSettings) -> np.ndarray:
    """The superpixel of every pixel, (H, W) int64, numbered from 0.

    Felzenszwalb & Huttenlocher, Efficient Graph-Based Image Segmentation, IJCV 2004.

    Args:
        image: (H, W, 3) uint8.
        settings: Scale, smoothing and smallest size.
    """
    # Imported here: it takes a second to load, and readers of stored superpixels do not need it.
    from skimage.segmentation import felzenszwalb

    return felzenszwalb(
        image,
        scale=settings.scale,
        sigma=settings.sigma,
        min_size=settings.min_size,
        channel_axis=-1,
    )


def majority_vote(labels: np.ndarray, superpixels: np.ndarray) -> np.ndarray:
    """The most common label in each pixel's superpixel, (H, W) uint8; the lowest wins ties.

    Args:
        labels: (H, W) uint8.
        superpixels: (H, W) int, numbered from 0.
    """
    clusters = int(labels.max()) + 1
    votes = np.bincount(
        (superpixels * clusters + labels).ravel(),
        minlength=(int(superpixels.max()) + 1) * clusters,
    )
    return votes.reshape(-1, clusters).argmax(1).astype(np.uint8)[superpixels]


def blend_means(score: np.ndarray, superpixels: np.ndarray, part: float) -> np.ndarray:
    """Blend the score with its mean over each pixel's superpixel, (H, W) float32.

    Args:
        score: (H, W) float.
        superpixels: (H, W) int, numbered from 0.
        part: Weight of the mean, 0 to 1.
    """
    of = superpixels.ravel()
    pixels = np.bincount(of)
    means = np.bincount(of, score.ravel()) / np.maximum(pixels, 1)
    return ((1 - part) * score + part * means[superpixels]).astype(np.float32)


def write_superpixels(
    images: Iterable[tuple[str, np.ndarray]], settings: SuperpixelSettings, path: str | Path
) -> None:
    """Write the superpixels of images, and their manifest; equal images give equal bytes.

    Args:
        images: Qualified ids and images, (H, W, 3) uint8.
        settings: As in `felzenszwalb_superpixels`.
        path: The HDF5 file: `ids`, and for each row `superpixels/<row>`, (H, W) uint16 or wider.
    """
    ids = []
    with KIND.create(path, libver="latest") as file:
        for row, (image_id, image) in enumerate(images):
            found = felzenszwalb_superpixels(image, settings)
            kind = np.promote_types(np.uint16, np.min_scalar_type(found.max()))
            file.create_dataset(
                f"superpixels/{row}",
                data=found.astype(kind),
                chunks=found.shape,
                compression="gzip",
            )
            ids.append(image_id)
        file["ids"] = np.array(ids, dtype=h5py.string_dtype())


class SuperpixelStore:
    """Superpixels in one or more files, read as one.

    Args:
        manifests: The manifests of the files.

    Raises:
        StoreError: A file or its manifest is missing, damaged, or of another kind or place.
    """

    def __init__(self, manifests: Sequence[str | Path]) -> None:
        self._place: dict[str, tuple[h5py.File, int]] = {}
        for path in manifests:
            file = KIND.open(KIND.checked(path))
            ids = file["ids"].asstr()[()].tolist()
            self._place |= {image_id: (file, row) for row, image_id in enumerate(ids)}

    def read(self, image_id: str) -> np.ndarray:
        """The superpixel of every pixel, (H, W) uint16 or wider.

        Raises:
            StoreError: There is no such image, or its file is damaged.
        """
        if image_id not in self._place:
            raise StoreError(
                f"there are no superpixels of image {image_id}",
                expected=f"one of {len(self._place)} images",
                fix="delete the files and run snakemake --cores all all_pseudo_masks",
            )
        file, row = self._place[image_id]
        with KIND.reading(file.filename, f"those of {image_id}"):
            return file[f"superpixels/{row}"][()]
