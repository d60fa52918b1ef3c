"""Opening a data set of the experiment."""

from collections.abc import Mapping
from pathlib import Path

from umtfss.common.errors import DataError
from umtfss.data.dataset import Dataset
from umtfss.experiment.datasets import DatasetConfig
from umtfss.experiment.schema import Experiment


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
