"""What every data set looks like to the rest of the pipeline, and how one is opened.

Shapes: H W pixels. Class ids: 0 background, 1 .. C classes, 255 ignored. An image id is unique in
its data set; everywhere else it is qualified, "<data set>/<image id>".
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

import numpy as np

from umtfss.config import DatasetConfig
from umtfss.errors import DataError
from umtfss.experiment import Experiment


class Dataset(Protocol):
    """A data set on disk. Cheap to open; can be sent to another process.

    Attributes:
        name: The name in the experiment file; the first part of qualified ids.
        class_names: Class id -> name, background not included.
        has_masks: Whether `mask` can be called.
        splits: Names of the splits.
    """

    name: str
    class_names: Mapping[int, str]
    has_masks: bool
    splits: tuple[str, ...]

    def ids(self, split: str) -> list[str]:
        """The image ids of a split, in the order of its list."""
        ...

    def image(self, image_id: str) -> np.ndarray:
        """The image, (H, W, 3) uint8 RGB."""
        ...

    def mask(self, image_id: str) -> np.ndarray:
        """The class ids of an image, (H, W) uint8, 255 ignored."""
        ...


def open_dataset(name: str, settings: DatasetConfig, root: Path) -> Dataset:
    """The data set in the folder `root`.

    Args:
        name: Its name in the experiment.
        settings: Its block of the experiment.
        root: The data set's own folder.

    Raises:
        DataError: The folder is missing or not laid out as the reader expects.
    """
    # Imported here: each reader needs a library of its own that the others do not.
    root = Path(root)
    if not root.is_dir():
        raise DataError(
            f"the folder of data set {name!r} does not exist",
            expected=f"files of kind {settings.kind}",
            found=str(root),
            fix=f"correct datasets.{name}.folder, data_root or UMTFSS_DATA_ROOT"
            + (", or set `download: true`" if settings.kind in ("voc2012", "coco") else ""),
        )
    match settings.kind:
        case "voc2012":
            from umtfss.data.voc import VocDataset

            return VocDataset(name, root)
        case "coco":
            from umtfss.data.coco import CocoDataset

            return CocoDataset(name, root)
        case "shapes":
            from umtfss.data.shapes import ShapesDataset

            assert settings.shapes is not None  # DatasetConfig refuses it
            return ShapesDataset(name, root, settings.shapes)
        case "folder":
            from umtfss.data.folder import FolderDataset

            return FolderDataset(name, root)


def open_datasets(experiment: Experiment, roots: Mapping[str, Path]) -> dict[str, Dataset]:
    """The data sets whose folders are given, by name.

    Args:
        experiment: Describes each of them in its block `datasets`.
        roots: Data set name -> its folder.

    Raises:
        DataError: A folder is missing or not laid out as its reader expects.
    """
    return {
        name: open_dataset(name, experiment.datasets[name], root) for name, root in roots.items()
    }


def known_split(dataset: Dataset, split: str) -> str:
    """`split`, if the data set has it.

    Raises:
        DataError: It has not.
    """
    if split not in dataset.splits:
        raise DataError(
            f"data set {dataset.name!r} has no split {split!r}",
            expected=f"one of {dataset.splits}",
            found=split,
            fix=f"write {dataset.name}/{dataset.splits[0]}",
        )
    return split


class Catalog:
    """Images and masks of several data sets by their qualified id.

    Args:
        datasets: Data set name -> data set.
    """

    def __init__(self, datasets: Mapping[str, Dataset]) -> None:
        self.datasets = dict(datasets)

    def image(self, qualified: str) -> np.ndarray:
        """The image, (H, W, 3) uint8 RGB.

        Raises:
            DataError: The data set or the image is unknown, or the file is damaged.
        """
        dataset, image_id = self._find(qualified)
        return dataset.image(image_id)

    def mask(self, qualified: str) -> np.ndarray:
        """The class ids of an image, (H, W) uint8, 255 ignored.

        Raises:
            DataError: The data set or the mask is unknown, or the file is damaged.
        """
        dataset, image_id = self._find(qualified)
        return dataset.mask(image_id)

    def _find(self, qualified: str) -> tuple[Dataset, str]:
        name, _, image_id = qualified.partition("/")
        if name not in self.datasets or not image_id:
            raise DataError(
                f"no data set holds the image {qualified!r}",
                expected=f"<data set>/<image id> with a data set of {sorted(self.datasets)}",
                found=qualified,
                fix="open that data set, or delete the file that names the image and run again",
            )
        return self.datasets[name], image_id
