"""The index of a split: the area of every class in every image. Building it verifies the split.

Shapes: n images, H W pixels.
"""

import json
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

import numpy as np
from tqdm import tqdm

from umtfss.common.digests import digest_json
from umtfss.common.errors import DataError
from umtfss.common.files import atomic_path
from umtfss.common.manifests import read_sealed, sealed
from umtfss.data.dataset import Dataset
from umtfss.data.images import IGNORE
from umtfss.data.splits import novel_classes
from umtfss.experiment.block import FOLDS
from umtfss.experiment.datasets import ExpectedCounts

FORMAT = "umtfss-index"
FORMAT_VERSION = 3


@dataclass(frozen=True, eq=False)
class DatasetIndex:
    """The contents of the images of one split.

    Attributes:
        dataset: Name of the data set.
        split: Name of the split.
        image_ids: n qualified image ids, in the order of the split's list.
        sizes: (n, 2) int, height and width.
        areas: Qualified image id -> class id -> px, for the classes in the image; background and
            ignored pixels are not counted.
        masks: Digest of every decoded mask.
        digests: n digests of the decoded images, equal for equal pixels.
    """

    dataset: str
    split: str
    image_ids: tuple[str, ...]
    sizes: np.ndarray
    areas: Mapping[str, Mapping[int, int]]
    masks: str
    digests: tuple[str, ...]

    @property
    def checksum(self) -> str:
        """The sha256 of the list, the sizes, the areas and the digests of images and masks."""
        return digest_json([FORMAT_VERSION, self.dataset, self.split, self.masks, self._rows()])

    def images_with(self, classes: Iterable[int], min_area: int) -> list[str]:
        """The ids of images with `min_area` px or more of one of `classes`, in list order."""
        wanted = frozenset(classes)
        return [
            image_id
            for image_id in self.image_ids
            if any(c in wanted and px >= min_area for c, px in self.areas[image_id].items())
        ]

    def class_pool(self, class_id: int, min_area: int) -> list[str]:
        """The ids of images with `min_area` px or more of a class, in list order."""
        return self.images_with([class_id], min_area)

    def save(self, path: str | Path) -> None:
        """Write the index atomically as JSON, one image a line; equal content gives equal bytes."""
        head = {
            "format": FORMAT,
            "version": FORMAT_VERSION,
            "dataset": self.dataset,
            "split": self.split,
            "masks": self.masks,
        }
        whole = sealed(path, {**head, "images": self._rows()})
        rows = ",\n".join(json.dumps(row, separators=(",", ":")) for row in whole.pop("images"))
        text = json.dumps(whole)[:-1] + f', "images": [\n{rows}\n]}}\n'
        with atomic_path(path) as temporary:
            temporary.write_text(text, encoding="utf-8")

    @classmethod
    def load(cls, path: str | Path) -> "DatasetIndex":
        """The index in a file.

        Raises:
            StoreError: The file is missing, altered, or of another version or place.
        """
        marks = {"format": FORMAT, "version": FORMAT_VERSION}
        raw = read_sealed(path, "the index of a split", marks)
        images = raw["images"]
        return cls(
            raw["dataset"],
            raw["split"],
            tuple(f"{raw['dataset']}/{image_id}" for image_id, *_ in images),
            np.array([row[1:3] for row in images], dtype=np.int64).reshape(-1, 2),
            {
                f"{raw['dataset']}/{image_id}": {int(c): px for c, px in areas.items()}
                for image_id, _, _, areas, _ in images
            },
            raw["masks"],
            tuple(digest for *_, digest in images),
        )

    def _rows(self) -> list[list]:
        """One [image id, height, width, {class: px}, digest] an image, as JSON holds it."""
        return [
            [
                image_id.split("/", 1)[1],
                *map(int, size),
                {str(c): int(px) for c, px in sorted(self.areas[image_id].items())},
                digest,
            ]
            for image_id, size, digest in zip(self.image_ids, self.sizes, self.digests, strict=True)
        ]


def build_index(
    dataset: Dataset, split: str, expected: ExpectedCounts, workers: int
) -> DatasetIndex:
    """Decode and verify every image and mask of a split, and return the split's index.

    Args:
        dataset: The data set.
        split: The split.
        expected: The counts that the experiment expects.
        workers: Number of processes; the result does not depend on it.

    Raises:
        DataError: The split is empty, a file is missing, damaged or has unexpected content, or a
            count differs from the expected one; the message names every such file and count.
    """
    ids = dataset.ids(split)
    if not ids:
        raise DataError(
            f"{dataset.name}/{split} lists no image",
            expected="one image or more",
            fix="complete the list of the split",
        )
    if workers == 1:
        _start_worker(dataset)
        facts = [_examine(image_id) for image_id in _progress(ids, dataset, split)]
    else:
        from loky import ProcessPoolExecutor  # one process needs no library

        # loky starts new processes; a fork of a process whose OpenMP threads have run may hang
        with ProcessPoolExecutor(workers, initializer=_start_worker, initargs=(dataset,)) as pool:
            results = pool.map(_examine, ids, chunksize=16)
            facts = list(_progress(results, dataset, split, len(ids)))
    bad = [fact for fact in facts if isinstance(fact, str)]
    if bad:
        raise DataError(
            f"{len(bad)} of {len(ids)} images of {dataset.name}/{split} cannot be used:\n    "
            + "\n    ".join(bad),
            fix="mend or remove the files named above; a mask has the size of its image, and class "
            "ids as values",
        )
    good = [fact for fact in facts if not isinstance(fact, str)]
    qualified = tuple(f"{dataset.name}/{image_id}" for image_id in ids)
    index = DatasetIndex(
        dataset.name,
        split,
        qualified,
        np.array([fact.size for fact in good], dtype=np.int64).reshape(-1, 2),
        dict(zip(qualified, (fact.areas for fact in good), strict=True)),
        digest_json([fact.mask for fact in good]),
        tuple(fact.image for fact in good),
    )
    _check_counts(index, expected)
    return index


@dataclass(frozen=True)
class _Facts:
    size: tuple[int, int]
    areas: dict[int, int]
    image: str  # digest of the pixels
    mask: int  # CRC-32 of the pixels, 0 without a mask


_worker_dataset: Dataset  # set once per worker process, instead of sent with every image


def _start_worker(dataset: Dataset) -> None:
    global _worker_dataset
    _worker_dataset = dataset


def _examine(image_id: str) -> _Facts | str:
    """The size, areas and checksums of an image, or what is wrong with the image."""
    dataset = _worker_dataset
    try:
        image = dataset.image(image_id)
        size = image.shape[:2]
        if not dataset.has_masks:
            return _Facts(size, {}, _digest(image), 0)
        mask = dataset.mask(image_id)
    except DataError as error:
        return str(error).replace("\n", "\n    ")
    if mask.shape != size:
        return f"{image_id}: the mask is {mask.shape}, the image {size} (height, width)"
    counts = np.bincount(mask.ravel(), minlength=IGNORE + 1)
    present = [int(value) for value in np.flatnonzero(counts)]
    unknown = [v for v in present if v not in (0, IGNORE) and v not in dataset.class_names]
    if unknown:
        last = max(dataset.class_names)
        return f"{image_id}: the mask holds {unknown}, expected 0 to {last} or {IGNORE}"
    areas = {v: int(counts[v]) for v in present if v not in (0, IGNORE)}
    return _Facts(size, areas, _digest(image), zlib.crc32(np.ascontiguousarray(mask).data))


def _digest(image: np.ndarray) -> str:
    """A digest of 64 bits: images of different pixels do not meet by chance, as with a CRC-32."""
    return blake2b(np.ascontiguousarray(image).data, digest_size=8).hexdigest()


def _progress(items: Iterable, dataset: Dataset, split: str, total: int | None = None) -> Iterable:
    return tqdm(items, f"verify {dataset.name}/{split}", total, unit="image", mininterval=1)


def _check_counts(index: DatasetIndex, expected: ExpectedCounts) -> None:
    """Compare the index with every count that the experiment expects of the split."""
    area = expected.min_area
    wrong = []
    if expected.images not in (None, len(index.image_ids)):
        wrong.append(f"images: expected {expected.images}, found {len(index.image_ids)}")
    if (per_fold := expected.fold_images) is not None:
        folds = [novel_classes(expected.kind, fold) for fold in FOLDS]
        found = [len(index.images_with(classes, area)) for classes in folds]
        if found != per_fold:
            wrong.append(f"images per fold with >= {area} px: expected {per_fold}, found {found}")
    if (smallest := expected.smallest_class) is not None:
        folds = [novel_classes(expected.kind, fold) for fold in FOLDS]
        found = [min(len(index.class_pool(c, area)) for c in classes) for classes in folds]
        if found != smallest:
            wrong.append(f"smallest class pool per fold: expected {smallest}, found {found}")
    if wrong:
        raise DataError(
            f"{index.dataset}/{index.split} is not the data set that the experiment expects:\n    "
            + "\n    ".join(wrong),
            fix="complete the data set, or correct the expected_... keys of its block",
        )
