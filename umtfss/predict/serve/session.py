"""A session: photos, objects, masks of the user and what is found, kept in a folder.

Everything is written below that folder: `session.json`, uploaded photos, features. A session goes
on where it was.

Shapes: H W pixels of a photo as it is worked on (see `photo`), C objects.
"""

import io
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from threading import RLock
from typing import Any

import numpy as np
from PIL import Image

from umtfss.common.errors import DataError
from umtfss.common.files import atomic_path, read_json, write_json
from umtfss.figures.overlay import OBJECT_COLOURS, overlay_labels
from umtfss.predict.annotations import decode, encode
from umtfss.predict.serve.photo import Photo, clean_name, read_checked, reduced
from umtfss.pseudo_masks.superpixels import SuperpixelSettings, felzenszwalb_superpixels

FORMAT = "umtfss-session"
VERSION = 1
MOST_PHOTOS = 500
MOST_OBJECTS = 50
AREAS_SIDE = 800  # px, the long side of the photo whose superpixels are found
THUMBNAIL_SIDE = 360  # px
QUALITY = 90  # of JPEG


class Session:
    """Photos, objects and masks.

    Args:
        folder: Where the session is kept.
        superpixels: Settings of the superpixels that a click adds.

    Raises:
        StoreError: The folder holds a session of another version, or a damaged one.
    """

    def __init__(self, folder: Path, superpixels: SuperpixelSettings) -> None:
        self.folder, self._settings = folder, superpixels
        self.lock = RLock()
        self.objects: list[str] = []
        self.min_score: float | None = None  # as the user chose it on the page
        self.photos: dict[int, Photo] = {}
        self.knowledge = 1  # counts the changes of what the user has shown
        self.next_number = 1
        self._pixels = lru_cache(8)(self._read)
        self._areas = lru_cache(8)(self._superpixels)
        if self.file.is_file():
            self._load()

    @property
    def file(self) -> Path:
        """The file of the session."""
        return self.folder / "session.json"

    # Photos

    def add_file(self, path: Path, name: str) -> Photo:
        """Add a photo that lies on this machine and stays there.

        Args:
            path: The file.
            name: What the user calls it.

        Raises:
            DataError: It cannot be read, its name is taken, or there are too many photos.
        """
        size = reduced(read_checked(path)).shape[:2]
        with self.lock:
            self._check_new(name)
            photo = Photo(self.next_number, path.resolve(), name, (size[0], size[1]))
            self.next_number += 1
            self.photos[photo.number] = photo
            self._save()
        return photo

    def add_upload(self, content: bytes, name: str) -> Photo:
        """Add a photo whose bytes were sent, and keep it in the folder.

        Raises:
            DataError: As `add_file`.
        """
        name = clean_name(name)
        with self.lock:
            self._check_new(name)
            path = self.folder / "photos" / f"{self.next_number}{Path(name).suffix.lower()}"
            with atomic_path(path) as temporary:
                temporary.write_bytes(content)
            try:
                return self.add_file(path, name)
            except DataError as error:
                path.unlink()
                raise DataError(
                    error.problem.replace(str(path), name),
                    expected=error.expected,
                    found=error.found,
                    fix=error.fix,
                ) from error

    def _check_new(self, name: str) -> None:
        stem = str(Path(name).with_suffix("")).lower()
        if any(stem == photo.stem.lower() for photo in self.photos.values()):
            raise DataError(
                f"there is already a photo named {Path(name).with_suffix('')}",
                expected="names that differ without their suffix, as they name the results",
                fix="rename one of them, if it is not the same photo",
            )
        if len(self.photos) >= MOST_PHOTOS:
            raise DataError(
                f"{name} was not added: there are too many photos",
                expected=f"at most {MOST_PHOTOS} in a session",
                fix="remove some, or give another --out and the rest of the photos",
            )

    def photo(self, number: int) -> Photo:
        """The photo of a number.

        Raises:
            DataError: There is none.
        """
        with self.lock:
            if number not in self.photos:
                raise DataError(
                    f"there is no photo {number}",
                    fix="load the page again: it was removed in another window",
                )
            return self.photos[number]

    def remove(self, photo: Photo) -> None:
        """Remove a photo from the session; only an uploaded copy is deleted."""
        with self.lock:
            self._know_more(photo)
            del self.photos[photo.number]
            self._save()
            if photo.path.parent == (self.folder / "photos").resolve():
                photo.path.unlink(missing_ok=True)

    def pixels(self, photo: Photo) -> np.ndarray:
        """The photo as it is worked on, (H, W, 3) uint8.

        Raises:
            DataError: It cannot be read, or has changed its size.
        """
        return self._pixels(photo.number)

    def _read(self, number: int) -> np.ndarray:
        photo = self.photo(number)
        pixels = photo.pixels()
        if pixels.shape[:2] != tuple(photo.size):
            raise DataError(
                f"{photo.path} has changed",
                expected=f"{photo.size[1]} x {photo.size[0]} px",
                found=f"{pixels.shape[1]} x {pixels.shape[0]} px",
                fix="remove it from the page and add it again",
            )
        return pixels

    def areas(self, photo: Photo, size: int = 1) -> np.ndarray:
        """The superpixels of a photo, (h, w) uint16.

        Args:
            photo: The photo, which is reduced to a long side of at most `AREAS_SIDE`.
            size: How much larger superpixels are than the settings say.
        """
        return self._areas(photo.number, size)

    def _superpixels(self, number: int, size: int) -> np.ndarray:
        image = Image.fromarray(self._pixels(number))
        image.thumbnail((AREAS_SIDE, AREAS_SIDE))
        settings = _Larger(self._settings, size)
        return felzenszwalb_superpixels(np.array(image), settings).astype(np.uint16)

    # Pictures

    def picture(self, photo: Photo) -> bytes:
        """The photo as it is worked on, as JPEG."""
        return _jpeg(Image.fromarray(self.pixels(photo)))

    def thumbnail(self, photo: Photo) -> bytes:
        """The photo in small, with its objects in colour, as JPEG."""
        image = Image.fromarray(self.pixels(photo))
        image.thumbnail((THUMBNAIL_SIDE, THUMBNAIL_SIDE))
        labels = self.labels(photo)
        if labels.any():
            small = Image.fromarray(labels).resize(image.size, Image.Resampling.NEAREST)
            drawn = overlay_labels(np.array(image), np.array(small), self.colours)
            image = Image.fromarray((drawn * 255).round().astype(np.uint8))
        return _jpeg(image)

    @property
    def colours(self) -> list[tuple[float, float, float]]:
        """The colour of every object, RGB in [0, 1]."""
        return [OBJECT_COLOURS[i % len(OBJECT_COLOURS)] for i in range(len(self.objects))]

    # Objects and masks

    def set_min_score(self, score: float) -> None:
        """Leave objects out that are found with a lower score."""
        with self.lock:
            self.min_score = score
            self._save()

    def add_object(self, name: str) -> None:
        """Add an object.

        Raises:
            DataError: The name cannot be used.
        """
        with self.lock:
            if len(self.objects) >= MOST_OBJECTS:
                raise DataError(
                    f"{name} was not added: there are too many objects",
                    expected=f"at most {MOST_OBJECTS}",
                    fix="remove one",
                )
            self.objects.append(self._checked(name))
            self._save()

    def rename_object(self, old: str, new: str) -> None:
        """Rename an object.

        Raises:
            DataError: There is no such object, or the name cannot be used.
        """
        with self.lock:
            row = self._row(old)
            if old == new:
                return
            self.objects[row] = new = self._checked(new)
            for photo in self.photos.values():
                if photo.marked is not None:
                    photo.marked = {new if k == old else k: v for k, v in photo.marked.items()}
                for one in photo.found or ():
                    one["name"] = new if one["name"] == old else one["name"]
            self._save()

    def remove_object(self, name: str) -> None:
        """Remove an object with its masks.

        Raises:
            DataError: There is no such object.
        """
        with self.lock:
            del self.objects[self._row(name)]
            self.knowledge += 1
            for photo in self.photos.values():
                photo.version += 1
                if photo.marked and name in photo.marked:
                    del photo.marked[name]
                    photo.marked = photo.marked or None
                if photo.found is not None:
                    photo.found = [one for one in photo.found if one["name"] != name]
            self._save()

    def labels(self, photo: Photo) -> np.ndarray:
        """The object of every pixel, (H, W) uint8: 0 none, i the object `objects[i - 1]`."""
        with self.lock:
            labels = np.zeros(photo.size, np.uint8)
            for name, runs in photo.regions.items():
                labels[decode(runs)] = self._row(name) + 1
            return labels

    def mark(self, photo: Photo, labels: np.ndarray, names: Sequence[str]) -> None:
        """Take the user's masks of a photo.

        Args:
            photo: The photo.
            labels: (H, W) uint8, 0 none, i the object `names[i - 1]`.
            names: The objects as the user saw them.

        Raises:
            DataError: The masks do not fit the photo or the objects.
        """
        with self.lock:
            for name in names:
                self._row(name)
            if labels.shape != tuple(photo.size) or labels.max(initial=0) > len(names):
                raise DataError(
                    f"the masks do not fit {photo.name}",
                    expected=f"{photo.size} pixels with values up to {len(names)}",
                    found=f"{labels.shape} pixels with values up to {labels.max(initial=0)}",
                    fix="load the page again",
                )
            masks = {name: labels == number for number, name in enumerate(names, 1)}
            self._know_more(photo)
            photo.marked = {name: encode(mask) for name, mask in masks.items() if mask.any()}
            self._know_more(photo)
            self._save()

    def unmark(self, photo: Photo) -> None:
        """Forget the user's masks of a photo; what was found in it stays."""
        with self.lock:
            self._know_more(photo)
            photo.marked = None
            self._save()

    def supports(self) -> list[tuple[Photo, str, np.ndarray]]:
        """What the user has shown: photo, object, mask (H, W) bool."""
        with self.lock:
            return [
                (photo, name, decode(runs))
                for photo in self.photos.values()
                for name, runs in (photo.marked or {}).items()
            ]

    def set_found(self, photo: Photo, found: list[dict[str, Any]] | str, knowledge: int) -> None:
        """Take what is found in a photo.

        Args:
            photo: The photo; nothing happens if it was removed meanwhile.
            found: Objects: name, score, share, runs; or why the photo could not be searched.
            knowledge: The session's state of knowledge when the search began.
        """
        with self.lock:
            if photo.number not in self.photos:
                return
            photo.version += 1
            photo.found_in = knowledge
            photo.error = found if isinstance(found, str) else ""
            photo.found = (
                None
                if isinstance(found, str)
                else [one for one in found if one["name"] in self.objects]
            )
            self._save()

    def _know_more(self, photo: Photo) -> None:
        """Count a change of a photo's masks; masks of no object teach nothing."""
        photo.version += 1
        self.knowledge += bool(photo.marked)

    def _row(self, name: str) -> int:
        if name not in self.objects:
            raise DataError(
                f"there is no object {name!r}",
                expected=", ".join(self.objects) or "an object first",
                fix="load the page again: it was changed in another window",
            )
        return self.objects.index(name)

    def _checked(self, name: str) -> str:
        shown = " ".join("".join(one if one.isprintable() else " " for one in name).split())
        if not 0 < len(shown) <= 60 or shown in self.objects:
            raise DataError(
                f"an object cannot be named {name[:60]!r}",
                expected="1 to 60 characters that no other object has as its name",
                fix="choose another name",
            )
        return shown

    # The file

    def _save(self) -> None:
        write_json(
            self.file,
            {
                "format": FORMAT,
                "version": VERSION,
                "objects": self.objects,
                "min_score": self.min_score,
                "knowledge": self.knowledge,
                "next_number": self.next_number,
                "photos": [photo.as_json() for photo in self.photos.values()],
            },
        )

    def _load(self) -> None:
        marks = {"format": FORMAT, "version": VERSION}
        content = read_json(self.file, "a session", marks, make="serve with another --out")
        self.objects, self.min_score = content["objects"], content["min_score"]
        self.knowledge, self.next_number = content["knowledge"], content["next_number"]
        self.photos = {one["number"]: Photo.from_json(one) for one in content["photos"]}


class _Larger:
    """Settings of superpixels that are larger by a factor."""

    def __init__(self, settings: SuperpixelSettings, factor: int) -> None:
        self.scale, self.min_size = settings.scale * factor, settings.min_size * factor
        self.sigma = settings.sigma


def _jpeg(image: Image.Image) -> bytes:
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=QUALITY)
    return stream.getvalue()
