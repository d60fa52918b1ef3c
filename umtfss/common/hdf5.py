"""HDF5 files with a manifest each, which is checked before a file is read.

All HDF5 files are opened here, and none is locked: shared file systems often have no locks.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py

from umtfss.common.errors import StoreError
from umtfss.common.files import atomic_path
from umtfss.common.manifests import (
    check_files,
    command_for,
    manifest_path,
    read_manifest,
    write_manifest,
)


@dataclass(frozen=True)
class FileKind:
    """A kind of HDF5 file.

    Attributes:
        format: Value of the file's attribute `format`.
        version: Value of the file's attribute `version`; a new layout has a higher one.
        holds: What the file is, for messages: "a file of cluster centres".
    """

    format: str
    version: int
    holds: str

    @contextmanager
    def create(
        self, path: str | Path, facts: Mapping[str, Any] | None = None, **layout: Any
    ) -> Iterator[h5py.File]:
        """A new file of this kind, open for writing; it becomes `path` if the block succeeds.

        The manifest is written beside it.

        Args:
            path: The file.
            facts: Fields of the manifest, to which the block may add; without a `digest`, the
                manifest has that of the file.
            **layout: Options of `h5py.File`, such as `libver`.
        """
        with atomic_path(path) as temporary, _unlocked(temporary, "w", **layout) as file:
            file.attrs["format"], file.attrs["version"] = self.format, self.version
            yield file
        write_manifest(manifest_path(path), self.format, files=[Path(path)], **(facts or {}))

    def manifest(self, path: str | Path) -> Mapping[str, Any]:
        """The manifest of a file of this kind; `path` is either of the two."""
        return read_manifest(manifest_path(path), self.format)

    def checked(self, path: str | Path) -> Path:
        """The path of a file of this kind, after its content was checked against the manifest.

        HDF5 itself reads damaged files: it may stop, or never end.

        Args:
            path: The manifest, or the file.

        Raises:
            StoreError: The manifest or the file is missing, altered, or of another place.
        """
        manifest = manifest_path(path)
        facts = self.manifest(manifest)
        check_files(manifest, facts)
        (name,) = facts["files"]
        return manifest.with_name(name)

    def open(self, path: str | Path) -> h5py.File:
        """A file of this kind, open for reading; its content is not checked (see `checked`).

        Raises:
            StoreError: The file is missing, not HDF5, of another format or of another version.
        """
        if not Path(path).is_file():
            fix = f"run {command_for(path)}"
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

    def _made_again(self, path: str | Path) -> str:
        return f"delete it and its manifest, and run {command_for(path)}"


def _unlocked(path: str | Path, mode: str, **layout: Any) -> h5py.File:
    return h5py.File(path, mode, locking=False, **layout)
