"""A folder of images without labels: a pool for pseudo-tasks.

Shapes: H W pixels.
"""

import logging
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from umtfss.common.errors import DataError
from umtfss.common.listing import list_files
from umtfss.data.dataset import known_split
from umtfss.data.images import read_image

logger = logging.getLogger(__name__)
SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})


class FolderDataset:
    """The images below a folder; its only split is `all`.

    An image id is the path below the folder, suffix included, and so unique. Hidden files are
    skipped silently. The log names files of other kinds, and folders and links that cannot be read.

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
            DataError: There is no such split, the folder holds no image, or the name of an image
                is not UTF-8.
        """
        known_split(self, split)
        listing = list_files(self.root)
        files = [path for path in listing.files if path.suffix.lower() in SUFFIXES]
        if listing.unread:
            logger.warning(
                "%d folders or links below %s are not read: %s",
                len(listing.unread),
                self.root,
                _some([f"{path} ({reason})" for path, reason in listing.unread.items()]),
            )
        others = sorted({path.suffix for path in listing.files} - {path.suffix for path in files})
        if others:  # some may be photos, e.g. .heic, which a user expects to be read
            logger.warning(
                "passing over %d files below %s that are of other kinds: %s",
                len(listing.files) - len(files),
                self.root,
                _some([suffix or "(no suffix)" for suffix in others]),
            )
        found = [path.as_posix() for path in files]
        for path in found:
            check_name(path)
        if not found:
            raise DataError(
                f"{self.root} holds no images",
                expected=f"files ending in {', '.join(sorted(SUFFIXES))}",
                found=f"{len(listing.files)} other files, {len(listing.unread)} that are not read",
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


def check_name(path: str) -> None:
    """Refuse a name that cannot be written into files of results.

    Raises:
        DataError: The name is not UTF-8.
    """
    try:
        path.encode()
    except UnicodeEncodeError as error:
        raise DataError(
            f"the name of {path!r} cannot be used",
            expected="a name in UTF-8",
            found=f"byte 0x{ord(path[error.start]) - 0xDC00:02x}",
            fix="rename the file, e.g. convmv -f latin1 -t utf8 --notest FILE",
        ) from error


def _some(items: list[str], most: int = 10) -> str:
    more = [f"and {len(items) - most} more"] if len(items) > most else []
    return ", ".join([*items[:most], *more])
