"""Where a data set's files lie and how they are read, as a job passes it to a script."""

import os
from dataclasses import dataclass
from pathlib import Path

from umtfss.common.errors import ConfigError
from umtfss.data.class_list import ClassList
from umtfss.data.splits import base_classes, novel_classes
from umtfss.experiment.datasets import DATA_ROOT_VARIABLE, Kind, ShapesConfig


@dataclass(frozen=True)
class DatasetSource:
    """Everything that is needed to open a data set, apart from the root of raw data.

    The root is left out so that moved files make no result stale. The Snakefile exports the root as
    the environment variable `UMTFSS_DATA_ROOT`. Every job that Snakemake starts, here or on a
    cluster, reads the Snakefile again and so has the variable.

    Attributes:
        name: Name in the experiment.
        kind: The reader.
        folder: The data set's folder, relative to the root of raw data or, for kind shapes, to the
            project's root; or an absolute path.
        shapes: Settings of the drawing, for kind shapes alone.
        class_list: Classes and folds that the data set's folder says, for kinds of one's own alone.
    """

    name: str
    kind: Kind
    folder: str
    shapes: ShapesConfig | None = None
    class_list: ClassList | None = None

    def novel_classes(self, fold: int) -> tuple[int, ...]:
        """The class ids that a fold is tested on (see `umtfss/data/splits.py`)."""
        return novel_classes(self.kind, fold, self.class_list)

    def base_classes(self, fold: int) -> tuple[int, ...]:
        """The class ids that a fold may train on."""
        return base_classes(self.kind, fold, self.class_list)

    def files(self, raw_data: Path | None = None) -> Path:
        """The folder of the data set's files.

        Args:
            raw_data: Root of raw data; None: $UMTFSS_DATA_ROOT.

        Raises:
            ConfigError: The environment variable is needed and not set.
        """
        folder = Path(self.folder).expanduser()
        if self.kind == "shapes" or folder.is_absolute():
            return folder
        return (raw_data or raw_data_root()) / folder


def raw_data_root() -> Path:
    """The root of raw data that the Snakefile has exported.

    Raises:
        ConfigError: The environment variable is not set.
    """
    if DATA_ROOT_VARIABLE not in os.environ:
        raise ConfigError(
            f"the environment variable {DATA_ROOT_VARIABLE} is not set",
            expected="the folder of raw data sets",
            fix=f"run the script through snakemake, or export {DATA_ROOT_VARIABLE}",
        )
    return Path(os.environ[DATA_ROOT_VARIABLE])
