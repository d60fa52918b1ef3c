"""A closer look at the query: where something was found, the image is cropped and tested again.

A small object covers few tokens, whose features are mostly those of what is around it. In a crop
at the whole image's size it covers more of them. Where to crop is told by the training-free score,
so that the boxes depend on an episode alone and not on the model that is tested. Edges lie on
eighths of the image's sides, so that many episodes share a crop, and its features are computed
once. Not in the paper; docs/method.md.

Shapes: H W pixels of the query, E episodes of a list.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np

from umtfss.episodes.episode import EpisodeList
from umtfss.episodes.loader import ImageSource
from umtfss.errors import StoreError
from umtfss.hdf5 import FileKind
from umtfss.provenance import atomic_path

KIND = FileKind("umtfss-boxes", 1, "a file of boxes around what was found", "all_episodes")

PARTS = 8  # of a side, at whose edges boxes end
# The values that docs/history/accuracy_log.md measured with:
BULK = 0.98  # of the pixels found that a box holds in each direction
GROWTH = 1.15  # of a box, for what the score missed
LEAST_SIDE = 0.35  # part of the image's side: less of it says little about what is shown
MOST_AREA = 0.6  # part of the image above which a crop would show nothing larger


class Box(NamedTuple):
    """A box in an image, in eighths of its sides: from top to bottom and from left to right."""

    top: int
    left: int
    bottom: int
    right: int

    def pixels(self, size: Sequence[int]) -> tuple[slice, slice]:
        """The rows and columns of an image of `size` (H, W, ...) px."""
        (top, bottom), (left, right) = (
            (round(start * side / PARTS), round(end * side / PARTS))
            for start, end, side in zip(self[:2], self[2:], size[:2], strict=True)
        )
        return slice(top, bottom), slice(left, right)


def find_box(score: np.ndarray) -> Box | None:
    """The box around what a score finds; None if it finds nothing or too much for a crop.

    Args:
        score: (H, W) float, positive where the class is found.
    """
    found = score > 0
    if not found.any():
        return None
    spans = _span(found.sum(1)), _span(found.sum(0))
    height, width = (end - start for start, end in spans)
    if height * width >= MOST_AREA:
        return None
    (top, bottom), (left, right) = (
        # rounded first: an edge that floats put a hair beyond an eighth lies on it
        (int(np.floor(round(PARTS * start, 6))), int(np.ceil(round(PARTS * end, 6))))
        for start, end in spans
    )
    box = Box(top, left, bottom, right)
    return None if box == (0, 0, PARTS, PARTS) else box


def _span(counts: np.ndarray) -> tuple[float, float]:
    """Start and end of a box along one side, in parts of that side.

    Args:
        counts: (side,) int, pixels found in each line across it.
    """
    side = len(counts)
    below = np.cumsum(counts) / counts.sum()
    first, last = np.searchsorted(below, [(1 - BULK) / 2, (1 + BULK) / 2])
    length = min(max(GROWTH * (last + 1 - first) / side, LEAST_SIDE), 1.0)
    start = min(max((first + last + 1) / 2 / side - length / 2, 0.0), 1.0 - length)
    return start, start + length


def crop_id(image_id: str, box: Box) -> str:
    """The id of a crop of an image: the image's own, "@" and the box."""
    return f"{image_id}@{'-'.join(map(str, box))}"


class Crops:
    """Crops of images by `crop_id`, as images of their own.

    Args:
        images: Gives the images.
        name: The data set's, if they are of one.
    """

    def __init__(self, images: ImageSource, name: str = "") -> None:
        self.images, self.name = images, name

    def image(self, crop: str, /) -> np.ndarray:
        """The crop, (h, w, 3) uint8 RGB."""
        image_id, _, edges = crop.rpartition("@")
        box = Box(*map(int, edges.split("-")))
        image = self.images.image(image_id)
        return np.ascontiguousarray(image[box.pixels(image.shape)])


def save_boxes(path: str | Path, boxes: Iterable[tuple[EpisodeList, Sequence[Box | None]]]) -> None:
    """Write the boxes of some episodes, atomically; equal boxes give equal bytes.

    Args:
        path: The HDF5 file: for each list `boxes/<key of the list>`, (E, 4) uint8, 0 where there
            is no box; `crops`, the ids of all crops, each once.
        boxes: Episodes and the boxes of their queries.
    """
    crops: set[str] = set()
    with atomic_path(path) as temporary, h5py.File(temporary, "w") as file:
        KIND.mark(file)
        for episodes, found in boxes:
            rows = [box or (0, 0, 0, 0) for box in found]
            file[f"boxes/{episodes.key}"] = np.array(rows, dtype=np.uint8).reshape(-1, 4)
            crops |= {
                crop_id(episode.query, box)
                for episode, box in zip(episodes, found, strict=True)
                if box is not None
            }
        file["crops"] = np.array(sorted(crops), dtype=h5py.string_dtype())


def load_boxes(path: str | Path, episodes: EpisodeList) -> list[Box | None]:
    """The boxes of some episodes in a file.

    Raises:
        StoreError: The file is missing, of another format or of another version, or lacks these
            episodes.
    """
    with KIND.open(path) as file:
        rows = file.get(f"boxes/{episodes.key}")
        if rows is None or len(rows) != len(episodes):
            raise StoreError(
                f"{path} does not hold the boxes of these episodes",
                expected=f"{len(episodes)} boxes of {episodes.key}",
                found="none" if rows is None else f"{len(rows)} boxes",
                fix=f"delete it and run {KIND.command(path)}",
            )
        return [Box(*row) if any(row) else None for row in rows[()].tolist()]


def crop_ids(paths: Iterable[str | Path]) -> list[str]:
    """The ids of all crops of some files of boxes, each once, sorted.

    Raises:
        StoreError: A file is missing, of another format or of another version.
    """
    found: set[str] = set()
    for path in paths:
        with KIND.open(path) as file:
            found |= set(file["crops"].asstr()[()])
    return sorted(found)
