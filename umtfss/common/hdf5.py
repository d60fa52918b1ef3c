"""HDF5 files with a format and a version, which are checked before a file is read.

All HDF5 files are opened here, and none is locked: shared file systems often have no locks.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py

from umtfss.common.errors import StoreError
from umtfss.common.files import atomic_path


@dataclass(frozen=True)
class FileKind:
    """A kind of HDF5 file.

    Attributes:
        format: Value of the file's attribute `format`.
        version: Value of the file's attribute `version`; a new layout has a higher one.
        holds: What the file is, for messages: "a file of cluster centres".
        target: Snakemake target that makes the file.
    """

    format: str
    version: int
    holds: str
    target: str

    @contextmanager
    def create(self, path: str | Path, **layout: Any) -> Iterator[h5py.File]:
        """A new file of this kind, open for writing; it becomes `path` if the block succeeds.

        Args:
            path: The file.
            **layout: Options of `h5py.File`, such as `libver`.
        """
        with atomic_path(path) as temporary, _unlocked(temporary, "w", **layout) as file:
            file.attrs["format"], file.attrs["version"] = self.format, self.version
            yield file

    def open(self, path: str | Path) -> h5py.File:
        """A file of this kind, open for reading.

        Raises:
            StoreError: The file is missing, not HDF5, of another format or of another version.
        """
        if not Path(path).is_file():
            fix = f"run {self.command(path)}"
            raise StoreError(f"{path} does not exist", expected=self.holds, fix=fix)
        fix = self._made_again(path)
        try:
            file = _unlocked(path, "r")
        except OSError as error:
            raise StoreError(f"{path} is not an HDF5 file ({error})", fix=fix) from error
        found = (file.attrs.get("format"), file.attrs.get("version"))
        if found != (self.format, self.version):
            file.close()
            raise StoreError(
                f"{path} is not {self.holds} of this version",
                expected=(self.format, self.version),
                found=found,
                fix=fix,
            )
        return file

    @contextmanager
    def reading(self, path: str | Path, what: str = "") -> Iterator[None]:
        """A context for reading from the open file `path`: a failed read becomes a `StoreError`.

        Args:
            path: The file.
            what: What is read, for messages; empty: the whole file.

        Raises:
            StoreError: The file lacks something, or is damaged.
        """
        try:
            yield
        except (OSError, KeyError) as error:
            raise StoreError(
                f"{path} is damaged: {what or self.holds} cannot be read ({error})",
                fix=self._made_again(path),
            ) from error

    def command(self, path: str | Path) -> str:
        """The command that makes the file, with the experiment that its path names."""
        parts = Path(path).parts
        if "results" not in parts[:-2]:
            return f"snakemake --cores all {self.target}"
        name = parts[parts.index("results") + 1]
        return f"snakemake --cores all --config experiment={name} -- {self.target}"

    def _made_again(self, path: str | Path) -> str:
        return f"delete it, with its manifest if it has one, and run {self.command(path)}"


def _unlocked(path: str | Path, mode: str, **layout: Any) -> h5py.File:
    return h5py.File(path, mode, locking=False, **layout)
