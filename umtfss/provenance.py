"""Where a result came from: content digests, manifests and atomic writes.

A manifest is the small JSON file beside a big output. It holds the content digest and what is
needed to read the output, never a time or a host name, so that equal content gives equal bytes.
"""

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from umtfss.errors import StoreError

PACKAGE_ROOT = Path(__file__).resolve().parent.parent
MANIFEST_VERSION = 1


def digest_file(path: str | Path) -> str:
    """The sha256 of a file's bytes, in hex."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def digest_json(value: Any) -> str:
    """The sha256 of a JSON-able value, independent of the order of its keys."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def digest_listing(folder: str | Path) -> str:
    """The sha256 of the names and sizes of all files below a folder; empty if there is none.

    Cheap enough to ask before every run: an added, removed or exchanged file shows, a file
    exchanged for one of the same size does not. Times are left out, as copies change them.
    """
    if not Path(folder).is_dir():
        return ""
    rows = []
    for parent, _, names in os.walk(folder, followlinks=True):
        paths = (Path(parent, name) for name in names if not name.startswith("."))
        rows += [
            (path.relative_to(folder).as_posix(), path.stat().st_size)
            for path in paths
            if path.is_file()
        ]
    return digest_json(sorted(rows))


def digest_code(*sources: str) -> str:
    """A short digest of the sources (files or folders, relative to the project's root).

    Every rule passes it as a parameter, so that an edit in the package reruns what it decides.

    Raises:
        StoreError: A source does not exist, so that a renamed file cannot go unnoticed.
    """
    digest = hashlib.sha256()
    for source in sources:
        path = PACKAGE_ROOT / source
        if not path.exists():
            raise StoreError(
                f"a rule names the source {source}, which does not exist",
                expected="a file or folder of the project",
                fix="correct the path in the rule's code(...)",
            )
        files = [path] if path.is_file() else sorted(path.rglob("*.py"))
        for file in files:
            digest.update(file.relative_to(PACKAGE_ROOT).as_posix().encode())
            digest.update(file.read_bytes())
    return digest.hexdigest()[:16]


def package_versions(*names: str) -> dict[str, str]:
    """The installed versions of the named distributions; absent ones are left out."""
    found = {}
    for name in names:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


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


def write_manifest(path: str | Path, kind: str, digest: str, **fields: Any) -> None:
    """Write the manifest of a big output.

    Args:
        path: The manifest's path.
        kind: What the output is, e.g. "features"; checked when it is read.
        digest: The content digest: equal for equal content.
        **fields: JSON-able facts that readers need (shapes, counts, versions).
    """
    write_json(path, {"kind": kind, "version": MANIFEST_VERSION, "digest": digest, **fields})


def read_manifest(path: str | Path, kind: str) -> Mapping[str, Any]:
    """The manifest at `path`.

    Raises:
        StoreError: It is missing, not JSON, of another kind or of another version.
    """
    path = Path(path)
    if not path.is_file():
        raise StoreError(
            f"{path} does not exist",
            expected=f"the manifest of {kind}",
            fix="run the rule that makes it (snakemake lists it with -n)",
        )
    try:
        manifest = json.loads(path.read_text())
    except json.JSONDecodeError as error:
        raise StoreError(f"{path} is not JSON ({error})", fix="delete it and run again") from error
    for key, expected in (("kind", kind), ("version", MANIFEST_VERSION)):
        if manifest.get(key) != expected:
            raise StoreError(
                f"{path} has the wrong {key}",
                expected=expected,
                found=manifest.get(key),
                fix="delete it and run again",
            )
    return manifest
