"""A full check of the results of an experiment: every seal, and every file of every manifest."""

from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from umtfss.common.errors import StoreError
from umtfss.common.manifests import check_files, command_for, read_sealed

PLAIN = ("metrics.json", "*-purity.json", "recipe.json")  # no job reads them
DESCRIBED = (".h5", ".safetensors")  # files that have a manifest


@dataclass(frozen=True)
class Verified:
    """The outcome of a check.

    Attributes:
        sealed: Number of manifests and sealed results.
        files: Number of other files that they describe.
        size: Size of these files, bytes.
        problems: What is wrong, file by file.
    """

    sealed: int
    files: int
    size: int
    problems: tuple[StoreError, ...]


def verify(folder: Path) -> Verified:
    """Check every file below a folder of results that a manifest describes, and every seal.

    Args:
        folder: Folder of an experiment's results, or one within it.

    Raises:
        StoreError: There is no such folder.
    """
    if not folder.is_dir():
        raise StoreError(
            f"there are no results in {folder}", fix="name another experiment or arrow"
        )
    problems: list[StoreError] = []
    checked: set[tuple[Path, str]] = set()
    seals = 0
    for path in _sealed(folder):
        seals += 1
        try:
            content = read_sealed(path, "a manifest or a result", {})
        except StoreError as error:
            problems.append(error)
            continue
        for name, digest in content.get("files", {}).items():
            file = path.with_name(name)
            if isinstance(digest, str) and (file, digest) not in checked:
                checked.add((file, digest))
                problems += _problem(path, content, name)
    files = {file for file, _ in checked}
    for file in sorted(folder.rglob("*")):
        if file.suffix in DESCRIBED and not file.name.startswith(".") and file not in files:
            problems.append(
                StoreError(
                    f"no manifest describes {file}",
                    fix=f"delete it, and run {command_for(file)} if it is needed",
                )
            )
    size = sum(file.stat().st_size for file in files if file.is_file())
    return Verified(seals, len(files), size, tuple(problems))


def _sealed(folder: Path) -> Iterator[Path]:
    """The JSON files that must bear a seal, sorted."""
    for path in sorted(folder.rglob("*.json")):
        if not path.name.startswith(".") and not any(fnmatch(path.name, one) for one in PLAIN):
            yield path


def _problem(path: Path, content: dict[str, Any], name: str) -> list[StoreError]:
    """The problem of one file of a manifest; empty if there is none."""
    try:
        check_files(path, content, [name])
    except StoreError as error:
        return [error]
    return []
