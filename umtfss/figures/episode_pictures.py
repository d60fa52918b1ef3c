"""The file of pictured test episodes, which the report shows, and the code of its pictures."""

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from umtfss.common.files import write_json
from umtfss.common.manifests import read_sealed, sealed

FORMAT = "umtfss-episode-pictures"
FORMAT_VERSION = 1
WEBP_SIDE = 16_383  # px, the largest side of a WebP picture


@dataclass(frozen=True)
class EpisodePictures:
    """One test episode.

    Attributes:
        fold: Tested fold.
        number: Number of the episode among those of its fold, episode seed 0.
        class_name: Class of the episode.
        rank: Place among the episodes of its class: best, median or worst.
        iou: IoU of the run, percent.
        floor_iou: IoU of the training-free floor, percent.
        pictures: Title -> picture as a data URI: support, true mask, floor, run.
    """

    fold: int
    number: int
    class_name: str
    rank: str
    iou: float
    floor_iou: float
    pictures: dict[str, str]


def save_pictures(
    path: str | Path, class_names: Mapping[int, str], episodes: Sequence[EpisodePictures]
) -> None:
    """Write the file atomically, with its seal.

    Args:
        path: The JSON file.
        class_names: Class id -> name, of all classes of the data set.
        episodes: The pictured episodes.
    """
    marks = {"format": FORMAT, "version": FORMAT_VERSION}
    names = {str(label): name for label, name in class_names.items()}
    pictured = [asdict(one) for one in episodes]
    write_json(path, sealed(path, {**marks, "class_names": names, "episodes": pictured}))


def read_pictures(path: str | Path) -> dict[str, Any]:
    """The keys `class_names` and `episodes` of the file.

    Raises:
        StoreError: The file is missing, altered, misplaced or of another version.
    """
    marks = {"format": FORMAT, "version": FORMAT_VERSION}
    return read_sealed(path, "pictures of test episodes", marks)


def data_uri(image: Image.Image, side: int = WEBP_SIDE) -> str:
    """A picture as a data URI of WebP.

    Args:
        image: The picture.
        side: Largest side, px; a larger picture is made smaller.
    """
    image = image.convert("RGB")
    image.thumbnail((side, side), Image.Resampling.LANCZOS)
    stream = io.BytesIO()
    image.save(stream, "WEBP", quality=75)
    return "data:image/webp;base64," + base64.b64encode(stream.getvalue()).decode()
