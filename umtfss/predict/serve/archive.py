"""The results of a session as one ZIP file.

Shapes: H W pixels of a photo.
"""

import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from umtfss.common.errors import DataError
from umtfss.common.files import atomic_path, temporary_folder
from umtfss.predict.outputs import Outputs, Query
from umtfss.predict.segment_photos import write_photo, write_tables
from umtfss.predict.segmenter import Segmentation
from umtfss.predict.serve.photo import Photo, read_checked
from umtfss.predict.serve.session import Session

OF_THE_USER = 1.0  # score of a mask that the user has made


@dataclass(frozen=True)
class Archive(Outputs):
    """The files of a session's results, a folder for each kind."""

    def mask(self, query: Query) -> Path:
        """The mask of a photo."""
        return self.folder / "masks" / f"{query.name}.png"

    def overlay(self, query: Query) -> Path:
        """The overlay on a photo."""
        return self.folder / "overlays" / f"{query.name}.png"

    def labelme_file(self, query: Query) -> list[Path]:
        """The LabelMe file of a photo, which belongs beside the photo."""
        return [self.folder / "labelme" / f"{query.name}.json"]


def write_archive(session: Session, path: Path) -> None:
    """Write masks, overlays, LabelMe files, COCO JSON, scores and names at the photos' sizes.

    Photos that were neither searched nor marked are left out.

    Args:
        session: The session.
        path: The ZIP file.

    Raises:
        DataError: There are no results yet, or a photo cannot be read.
    """
    with session.lock:
        names = tuple(session.objects)
        shown = [one for one in session.photos.values() if one.marked is not None or one.found]
        results = [(one, session.labels(one), _scores(one, names)) for one in shown]
    if not results or not names:
        raise DataError(
            "there is nothing to export yet",
            expected="a photo with a mask",
            fix="name an object and mark it on a photo",
        )
    with temporary_folder(path) as folder:
        outputs = Archive(folder, names)
        records = []
        for photo, labels, scores in results:
            query = Query(folder / "labelme" / photo.name, photo.stem)
            pixels = read_checked(photo.path)
            height, width = pixels.shape[:2]
            large = enlarged_labels(labels, (height, width))
            found = Segmentation(large, scores, np.empty((0, 0, 0), np.float32))
            records.append(write_photo(pixels, found, query, outputs))
        write_tables(records, outputs)
        with (
            atomic_path(path) as temporary,
            zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as file,
        ):
            for one in sorted(folder.rglob("*")):
                if one.is_file():
                    file.write(one, one.relative_to(folder))


def _scores(photo: Photo, names: tuple[str, ...]) -> np.ndarray:
    """The score of every object, (C,) float32; 0: not searched, or the user says it is absent."""
    if photo.marked is not None:
        return np.array([OF_THE_USER * (name in photo.marked) for name in names], np.float32)
    scores = {one["name"]: one["score"] for one in photo.found or ()}
    return np.array([scores.get(name, 0) for name in names], np.float32)


def enlarged_labels(labels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Labels at another size, with smooth borders, (H, W) uint8.

    Args:
        labels: (h, w) uint8.
        size: H, W.
    """
    if labels.shape == size:
        return labels
    best, found = np.full(size, 0.0, np.float32), np.zeros(size, np.uint8)
    for value in np.unique(labels):
        part = Image.fromarray((labels == value).astype(np.float32))
        large = np.array(part.resize((size[1], size[0]), Image.Resampling.BILINEAR))
        found[large > best] = value
        best = np.maximum(best, large)
    return found
