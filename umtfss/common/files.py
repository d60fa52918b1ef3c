"""Where the project lies, and files that are whole or absent."""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from umtfss.common.errors import StoreError

PACKAGE_ROOT = Path(__file__).resolve().parents[2]


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """A temporary path in the same folder that becomes `path` if the block succeeds.

    The temporary file is removed if the block raises, so nothing half-written ever bears the
    final name.
    """
    final = Path(path)
    final.parent.mkdir(parents=True, exist_ok=True)
    temporary = final.with_name(f".{final.stem}.{os.getpid()}.partial{final.suffix}")
    try:
        yield temporary
        os.replace(temporary, final)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: str | Path, value: Any) -> None:
    """Write a JSON file atomically, keys in the given order, one key a line at the top level."""
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(value, indent=1) + "\n")


def read_json(
    path: str | Path, holds: str, marks: Mapping[str, Any], *, make: str
) -> dict[str, Any]:
    """The content of a JSON file that says what it is.

    Args:
        path: The file.
        holds: What the file holds, e.g. "the index of a split"; for messages.
        marks: Key -> value that the file must have: its format or kind, and its version.
        make: The command that makes the file, e.g. "snakemake --cores all all_data"; for messages.

    Raises:
        StoreError: The file is missing, not JSON, or has other marks.
    """
    path = Path(path)
    if not path.is_file():
        raise StoreError(f"{path} does not exist", expected=holds, fix=f"run {make}")
    fix = f"delete it and run {make}"
    try:
        content = json.loads(path.read_text())
    except json.JSONDecodeError as error:
        raise StoreError(f"{path} is not JSON ({error})", expected=holds, fix=fix) from error
    if not isinstance(content, dict):
        raise StoreError(f"{path} is no mapping", expected=holds, found=content, fix=fix)
    for key, expected in marks.items():
        if content.get(key) != expected:
            found = content.get(key)
            problem = f"{path} has the wrong {key} for {holds}"
            raise StoreError(problem, expected=expected, found=found, fix=fix)
    return content
