"""The photos of a session.

Shapes: H W pixels of a photo as it is worked on: its long side is at most `LONG_SIDE`.
"""

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from umtfss.common.errors import DataError
from umtfss.data.folder import SUFFIXES
from umtfss.data.images import decoding
from umtfss.predict.supports import read_photo

LONG_SIDE = 1600  # px
MOST_PIXELS = 50_000_000  # of a photo
FORMATS = ("JPEG", "PNG", "BMP", "TIFF", "WEBP")  # Pillow's others start programs, e.g. EPS
Runs = Mapping[str, Any]  # run lengths of a mask, see `annotations.encode`


@dataclass
class Photo:
    """A photo of a session.

    Attributes:
        number: Its number, which no other photo of the session has had.
        path: The file.
        name: What the user calls it: a file name, below the folder that was named.
        size: H, W as it is worked on.
        marked: Object -> the mask that the user gave it; None: the user gave none. A photo without
            a mask in it shows none of the objects, says the user.
        found: Objects found: name, score, share, runs; None: not searched yet.
        found_in: The session's state of knowledge when it was searched.
        error: Why it could not be searched.
    """

    number: int
    path: Path
    name: str
    size: tuple[int, int]
    marked: dict[str, Runs] | None = None
    found: list[dict[str, Any]] | None = None
    found_in: int = 0
    error: str = ""
    version: int = field(default=0, compare=False)

    @property
    def stem(self) -> str:
        """The name without suffix, which names its results."""
        return str(Path(self.name).with_suffix(""))

    @property
    def regions(self) -> dict[str, Runs]:
        """Object -> its mask: the user's, else what is found."""
        if self.marked is not None:
            return self.marked
        return {one["name"]: one["runs"] for one in self.found or () if one["share"]}

    def as_json(self) -> dict[str, Any]:
        """The fields that are kept."""
        kept = {key: value for key, value in vars(self).items() if key != "version"}
        return {**kept, "path": str(self.path)}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> "Photo":
        """The photo whose fields were kept."""
        typed = {"path": Path(content["path"]), "size": tuple(content["size"])}
        return cls(**{**content, **typed})

    def pixels(self) -> np.ndarray:
        """The photo as it is worked on, (H, W, 3) uint8.

        Raises:
            DataError: It cannot be read.
        """
        return reduced(read_checked(self.path))


def reduced(pixels: np.ndarray) -> np.ndarray:
    """A photo whose long side is at most `LONG_SIDE`."""
    height, width = pixels.shape[:2]
    part = LONG_SIDE / max(height, width)
    if part >= 1:
        return pixels
    size = max(1, round(width * part)), max(1, round(height * part))
    return np.array(Image.fromarray(pixels).resize(size, Image.Resampling.LANCZOS))


def read_checked(path: Path) -> np.ndarray:
    """A photo of a kind and a size that can be served, (H, W, 3) uint8 RGB, upright.

    Raises:
        DataError: It is of another kind, too large or damaged.
    """
    if not path.is_file():
        return read_photo(path)  # which says so
    with decoding(path), Image.open(path, formats=FORMATS) as image:
        width, height = image.size
    if width * height > MOST_PIXELS:
        raise DataError(
            f"{path} has too many pixels",
            expected=f"at most {MOST_PIXELS // 10**6} million",
            found=f"{width} x {height} px, {width * height / 1e6:.0f} million",
            fix="shrink it, e.g. mogrify -resize 4000x4000",
        )
    return read_photo(path)


def clean_name(name: str) -> str:
    """The file name of an uploaded photo, without folders and control characters.

    Raises:
        DataError: It does not end as a photo's name does.
    """
    last = re.split(r"[/\\]", unicodedata.normalize("NFC", name))[-1]
    shown = "".join(one for one in last if one.isprintable() and one not in '<>:"|?*')
    path = Path(shown.strip().lstrip(".") or "photo")
    if path.suffix.lower() not in SUFFIXES:
        raise DataError(
            f"{path} is no photo",
            expected=f"a name ending in {', '.join(sorted(SUFFIXES))}",
            fix="save it as JPEG or PNG",
        )
    return path.stem[:80].rstrip() + path.suffix
