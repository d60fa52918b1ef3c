"""A folder of images without labels: a pool for pseudo-tasks.

Shapes: H W pixels.
"""

import logging
import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from umtfss.common.errors import DataError
from umtfss.data.dataset import known_split
from umtfss.data.images import read_image

logger = logging.getLogger(__name__)
SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})


class FolderDataset:
    """The images below a folder; its only split is `all`.

    An image id is the path below the folder, suffix included, and so unique. Hidden files are
    skipped silently; the log names files of other kinds that are skipped.

    Args:
        name: Name in the experiment.
        root: The folder, searched with its sub-folders.
    """

    has_masks = False
    splits: tuple[str, ...] = ("all",)

    def __init__(self, name: str, root: Path) -> None:
        self.name = name
        self.root = root
        self.class_names: Mapping[int, str] = {}

    def ids(self, split: str) -> list[str]:
        """The image ids, sorted.

        Raises:
            DataError: There is no such split, or the folder holds no image.
        """
        known_split(self, split)
        walked = os.walk(self.root, followlinks=True)  # as `digest_listing` does
        paths = (Path(parent, name) for parent, _, names in walked for name in names)
        files = (path.relative_to(self.root) for path in paths if path.is_file())
        shown = [path for path in files if not any(part.startswith(".") for part in path.parts)]
        found = sorted(path.as_posix() for path in shown if path.suffix.lower() in SUFFIXES)
        others = sorted({path.suffix for path in shown if path.suffix.lower() not in SUFFIXES})
        if others:  # some may be photos, e.g. .heic, which a user expects to be read
            logger.warning(
                "passing over %d files below %s that are of other kinds: %s",
                len(shown) - len(found),
                self.root,
                ", ".join(suffix or "(no suffix)" for suffix in others[:10]),
            )
        if not found:
            raise DataError(
                f"{self.root} holds no images",
                expected=f"files ending in {', '.join(sorted(SUFFIXES))}",
                fix="name the folder of your images (in an experiment: datasets.<name>.folder)",
            )
        return found

    def image(self, image_id: str) -> np.ndarray:
        """The image, (H, W, 3) uint8 RGB, turned upright as its EXIF orientation says.

        Raises:
            DataError: The file is missing or damaged.
        """
        return read_image(self.root / image_id, upright=True)

    def mask(self, image_id: str) -> np.ndarray:
        """Refuse: a folder has no masks.

        Raises:
            DataError: Always.
        """
        raise DataError(
            f"data set {self.name!r} is a folder of images without masks",
            found=f"a request for the mask of {image_id}",
            fix="use the folder as an unlabelled pool only",
        )
