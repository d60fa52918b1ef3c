"""Where the project lies, and files that are whole or absent."""

import json
import os
import platform
import re
import secrets
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from errno import EDQUOT, EFBIG, ENOSPC
from pathlib import Path
from typing import Any

import psutil

from umtfss.common.errors import DiskSpaceError, StoreError, UmtfssError

PACKAGE_ROOT = Path(__file__).resolve().parents[2]  # the folder that holds the package
PACKAGED = "umtfss/workflow"  # a wheel has the workflow there (setup.py)
# Snakefile, rules, scripts and experiments lie there; in a checkout they lie beside the package.
WORKFLOW_ROOT = next(path for path in (PACKAGE_ROOT / PACKAGED, PACKAGE_ROOT) if path.is_dir())
NO_SPACE = (ENOSPC, EDQUOT, EFBIG)  # full disk, used-up quota, limit of a file's size
PROBE_BYTES = 1 << 20
# .<name>.<host>-<process>-<random>.partial<suffix>, file or folder
_TEMPORARY = re.compile(r"\..*\.(?P<host>[^.]+)-(?P<process>\d+)-[0-9a-f]{8}\.partial")
_NAME_LENGTH = 50  # characters of the final name in a temporary one; names end at 255 bytes
_ABANDONED_SECONDS = 86_400.0  # of another host's process, of which nothing is known
_CLOCK_SECONDS = 60.0  # by which a clock that is set may shift the start of a process
_tidied: set[Path] = set()


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """A temporary path in the same folder that becomes `path` if the block succeeds.

    The temporary file is removed if the block raises, so nothing half-written ever bears the
    final name. Temporary files that killed processes have left in the folder go first. The mode
    follows the umask, whatever the writer sets.

    Raises:
        DiskSpaceError: The disk or the quota is full, or the file exceeds a limit of its size.
    """
    final = Path(path)
    final.parent.mkdir(parents=True, exist_ok=True)
    temporary = _temporary_path(final)
    os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
    mode = temporary.stat().st_mode
    try:
        yield temporary
        temporary.chmod(mode)
        os.replace(temporary, final)
    except UmtfssError:
        raise
    except Exception as error:
        _explain_no_space(temporary, final, error)
        raise
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def temporary_folder(beside: str | Path) -> Iterator[Path]:
    """A new folder beside a path, removed at the end; folders of killed processes go first."""
    path = Path(beside)
    path.parent.mkdir(parents=True, exist_ok=True)
    folder = _temporary_path(path)
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def remove_leftovers(folder: Path) -> None:
    """Remove the temporary files and folders in `folder` whose writers are gone."""
    for entry in os.scandir(folder):
        if (match := _TEMPORARY.match(entry.name)) and _is_abandoned(entry, **match.groupdict()):
            if entry.is_dir(follow_symlinks=False):
                shutil.rmtree(entry.path, ignore_errors=True)
            else:
                Path(entry.path).unlink(missing_ok=True)


def host_name() -> str:
    """The name of this machine or container, without its domain."""
    return platform.node().split(".")[0] or "localhost"


def process_start(process: int) -> float | None:
    """The time at which a process of this host started, s since 1970; None if it is gone."""
    try:
        found = psutil.Process(process)
        return None if found.status() == psutil.STATUS_ZOMBIE else found.create_time()
    except psutil.Error:
        return None


def no_space(path: str | Path, reason: str, needed: int) -> DiskSpaceError:
    """The error of a file that cannot be written for lack of space.

    Args:
        path: The file.
        reason: What the operating system says.
        needed: Bytes that the file has taken so far.
    """
    free = shutil.disk_usage(Path(path).parent).free
    return DiskSpaceError(
        f"{path} cannot be written: {reason}",
        expected=f"space for more than {needed:,} bytes",
        found=f"{free:,} bytes free on its disk",
        fix="free some space, or raise the quota or the limit, and run again",
    )


def _temporary_path(final: Path) -> Path:
    """A name that no other process uses, on any host; the suffix is kept."""
    if final.parent not in _tidied:
        _tidied.add(final.parent)
        remove_leftovers(final.parent)
    writer = f"{host_name()}-{os.getpid()}-{secrets.token_hex(4)}"
    return final.with_name(f".{final.stem[:_NAME_LENGTH]}.{writer}.partial{final.suffix}")


def _is_abandoned(entry: "os.DirEntry[str]", host: str, process: str) -> bool:
    """Whether the writer of a temporary file is gone."""
    try:
        changed = entry.stat(follow_symlinks=False).st_mtime
    except OSError:  # it has gone itself
        return False
    if host != host_name():
        return time.time() - changed > _ABANDONED_SECONDS
    started = process_start(int(process))
    return started is None or started > changed + _CLOCK_SECONDS  # the number was given anew


def _explain_no_space(temporary: Path, final: Path, error: Exception) -> None:
    """Raise a `DiskSpaceError` if nothing more can be written; libraries seldom say so."""
    needed = temporary.stat().st_size if temporary.is_file() else 0
    try:
        with open(temporary, "ab") as stream:
            stream.write(bytes(PROBE_BYTES))
    except OSError as refused:
        if refused.errno in NO_SPACE:
            raise no_space(final, os.strerror(refused.errno), needed) from error


def write_json(path: str | Path, value: Any) -> None:
    """Write a JSON file atomically, keys in the given order, one key a line at the top level."""
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")


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
        StoreError: The file is missing, not UTF-8, not JSON, or has other marks.
    """
    path = Path(path)
    if not path.is_file():
        raise StoreError(f"{path} does not exist", expected=holds, fix=f"run {make}")
    fix = f"delete {path} and run {make}"
    try:
        content = json.loads(path.read_bytes().decode("utf-8"))
    except UnicodeDecodeError as error:
        problem = f"{path} is no UTF-8 text: byte {error.start} cannot be read ({error.reason})"
        raise StoreError(problem, expected=holds, fix=fix) from error
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
