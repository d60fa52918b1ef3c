"""The files below a folder, and what below it cannot be read."""

import os
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Listing:
    """The content of a folder and its sub-folders, without what is hidden.

    Attributes:
        files: Paths below the folder, sorted.
        unread: Path of a folder or link -> why it cannot be read, sorted.
    """

    files: tuple[Path, ...]
    unread: Mapping[Path, str]


def list_files(root: str | Path) -> Listing:
    """List the files below a folder.

    Links are followed. A folder is listed once, however many links lead to it, at its own path if
    that lies below the root. So a link to a folder above ends.
    """
    root = Path(root)
    files: list[Path] = []
    unread: dict[Path, str] = {}
    folders, links = deque([root]), deque[Path]()
    seen: set[str] = set()
    while folders or links:  # links last: a folder is known by its own path
        folder = (folders or links).popleft()
        if (real := os.path.realpath(folder)) in seen:
            continue
        seen.add(real)
        try:
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except OSError as error:
            unread[folder.relative_to(root)] = str(error.strerror)
            continue
        for entry in entries:
            if entry.name.startswith("."):
                continue
            path = folder / entry.name
            try:
                if entry.is_dir():
                    (links if entry.is_symlink() else folders).append(path)
                elif entry.is_file():
                    files.append(path.relative_to(root))
                elif entry.is_symlink():
                    unread[path.relative_to(root)] = "a link to nothing"
            except OSError as error:
                unread[path.relative_to(root)] = str(error.strerror)
    return Listing(tuple(sorted(files, key=Path.as_posix)), dict(sorted(unread.items())))
