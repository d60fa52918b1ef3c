"""Manifests: what the files of an artifact must be, in a small JSON file beside them.

An artifact is what one job writes. Its manifest states where the artifact belongs, the digest of
its content, the digest of every file, and what else readers need. Readers check all of it once,
before they read: a file that is cut, altered, exchanged or of another run is refused and named.
Results that are JSON themselves (indexes, evaluations) are sealed in the same way.

A manifest holds no time and no host name, so equal content gives equal bytes.
"""

import json
import logging
import os
import time
from collections.abc import Iterable, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from umtfss.common.digests import digest_file, digest_json
from umtfss.common.errors import StoreError
from umtfss.common.files import read_json, write_json

MANIFEST_VERSION = 2
PLACE, SEAL = "place", "seal"
LONG_CHECK_SECONDS = 5.0

logger = logging.getLogger(__name__)


def package_versions(*names: str) -> dict[str, str]:
    """Distribution -> installed version; distributions that are not installed are left out."""
    found = {}
    for name in names:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def place_of(path: str | Path) -> str:
    """Where a file belongs: its path from `results` on; outside of it, its name."""
    parts = Path(os.path.abspath(path)).parts
    if "results" not in parts[:-2]:
        return parts[-1]
    last = len(parts) - 1 - parts[::-1].index("results", 2)
    return "/".join(parts[last:])


def command_for(path: str | Path) -> str:
    """The command that makes a file, with the experiment that its path names."""
    place = place_of(path)
    if "/" not in place:
        return "the rule that makes it"
    return f"snakemake --cores all --config experiment={place.split('/')[1]} -- {place}"


def sealed(path: str | Path, value: Mapping[str, Any]) -> dict[str, Any]:
    """A JSON-able value with the place that it belongs to and the digest of both, its seal.

    Args:
        path: Where the value will lie.
        value: The value.
    """
    plain = json.loads(json.dumps({**value, PLACE: place_of(path)}))
    return {**plain, SEAL: digest_json(plain)}


def read_sealed(path: str | Path, holds: str, marks: Mapping[str, Any]) -> dict[str, Any]:
    """The value that `sealed` made and a file holds.

    Args:
        path: The file.
        holds: What the file holds, for messages.
        marks: Key -> value that the file must have: its format or kind, and its version.

    Raises:
        StoreError: The file is missing, not JSON, altered, of another place, or has other marks.
    """
    content = read_json(path, holds, marks, make=command_for(path))
    found = digest_json({key: value for key, value in content.items() if key != SEAL})
    if content.get(SEAL) != found:
        raise StoreError(
            f"{path} was altered",
            expected=f"{SEAL} {content.get(SEAL)}",
            found=f"{SEAL} {found}",
            fix=_again(path),
        )
    if not _belongs(path, content[PLACE]):
        raise StoreError(
            f"{path} is a file of another place",
            expected=place_of(path),
            found=content[PLACE],
            fix=_again(path),
        )
    return content


def _belongs(path: str | Path, place: str) -> bool:
    """Whether a file lies at its place; links, which are laid on purpose, may share it."""
    own, real = place_of(path), os.path.realpath(path)
    if own == place or real == os.path.abspath(path):
        return own == place
    return place == place_of(real) or place.split("/")[2:] == own.split("/")[2:] != []


def manifest_path(path: str | Path) -> Path:
    """The manifest of a file that is an artifact by itself; a manifest's path stays."""
    return Path(path).with_suffix(".json")


def write_manifest(
    path: str | Path,
    kind: str,
    digest: str | None = None,
    files: Iterable[Path] = (),
    *,
    place: str | Path | None = None,
    **fields: Any,
) -> None:
    """Write the manifest of an artifact.

    Args:
        path: The manifest's path.
        kind: What the artifact is, e.g. "features"; readers check it.
        digest: Digest of the content, equal for equal content; None: that of the only file.
        files: The files, which lie beside the manifest.
        place: Path where the manifest will lie in the end; None: `path`.
        **fields: JSON-able facts that readers need (shapes, counts, versions).
    """
    digests = {file.name: digest_file(file) for file in files}
    if digest is None:
        (digest,) = digests.values()
    head = {"kind": kind, "version": MANIFEST_VERSION, "digest": digest, **fields}
    write_json(path, sealed(place or path, {**head, "files": digests}))


def read_manifest(path: str | Path, kind: str) -> Mapping[str, Any]:
    """The manifest at `path`; its files are not looked at.

    Raises:
        StoreError: The manifest is missing, not JSON, altered, or of another kind or place.
    """
    return read_sealed(path, f"the manifest of {kind}", {"kind": kind, "version": MANIFEST_VERSION})


def check_files(
    path: str | Path, manifest: Mapping[str, Any], names: Iterable[str] | None = None
) -> None:
    """Check the files of an artifact against the digests in its manifest.

    Args:
        path: The manifest's path.
        manifest: The manifest.
        names: Names of the files; None: all.

    Raises:
        StoreError: A file is missing, or is not what the manifest states.
    """
    started, size = time.monotonic(), 0
    for name in manifest["files"] if names is None else names:
        file, expected = Path(path).with_name(name), manifest["files"][name]
        found = digest_file(file) if file.is_file() else None
        if found != expected:
            raise StoreError(
                f"{file} {'does not exist' if found is None else 'is damaged or another file'}",
                expected=f"sha256 {expected}, as {path} states",
                found=f"sha256 {found}" if found else "no file",
                fix=_again(path),
            )
        size += file.stat().st_size
    if (seconds := time.monotonic() - started) > LONG_CHECK_SECONDS:
        logger.info("checked the %.1f GB of %s in %.0f s", size / 1e9, path, seconds)


def _again(path: str | Path) -> str:
    return f"delete {path} and run {command_for(path)}"
