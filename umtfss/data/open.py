"""Opening a data set of the experiment."""

from collections.abc import Iterable
from pathlib import Path

from umtfss.common.errors import DataError
from umtfss.data.dataset import Dataset
from umtfss.data.source import DatasetSource


def open_dataset(source: DatasetSource, raw_data: Path | None = None) -> Dataset:
    """The data set, ready to be read.

    Args:
        source: Name, reader and folder of the data set.
        raw_data: Root of raw data; None: $UMTFSS_DATA_ROOT.

    Raises:
        ConfigError: `raw_data` is None and $UMTFSS_DATA_ROOT is not set.
        DataError: The folder is missing or not laid out as the reader expects.
    """
    # Imported here: every reader needs a library that the other readers do not need.
    name, root = source.name, source.files(raw_data)
    if not root.is_dir():
        raise DataError(
            f"the folder of data set {name!r} does not exist",
            expected=f"files of kind {source.kind}",
            found=str(root),
            fix=f"correct datasets.{name}.folder, data_root or UMTFSS_DATA_ROOT"
            + (", or set `download: true`" if source.kind in ("voc2012", "coco") else ""),
        )
    match source.kind:
        case "voc2012":
            from umtfss.data.voc import VocDataset

            return VocDataset(name, root)
        case "coco":
            from umtfss.data.coco import CocoDataset

            return CocoDataset(name, root)
        case "shapes":
            from umtfss.data.shapes import ShapesDataset

            assert source.shapes is not None  # DatasetConfig refuses it
            return ShapesDataset(name, root, source.shapes)
        case "masks_folder":
            from umtfss.data.masks_folder import MasksFolderDataset

            assert source.class_list is not None  # the plan reads it
            return MasksFolderDataset(name, root, source.class_list)
        case "coco_json":
            from umtfss.data.coco_json import CocoJsonDataset

            assert source.class_list is not None  # the plan reads it
            return CocoJsonDataset(name, root, source.class_list)
        case "folder":
            from umtfss.data.folder import FolderDataset

            return FolderDataset(name, root)


def open_datasets(
    sources: Iterable[DatasetSource], raw_data: Path | None = None
) -> dict[str, Dataset]:
    """The data sets by name (see `open_dataset`)."""
    return {source.name: open_dataset(source, raw_data) for source in sources}
