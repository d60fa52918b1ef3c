"""Manifests: the small JSON file beside a big output, with its content digest.

A manifest holds what a reader of the output needs. It holds no time and no host name, so equal
content gives equal bytes.
"""

from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from umtfss.common.files import read_json, write_json

MANIFEST_VERSION = 1


def package_versions(*names: str) -> dict[str, str]:
    """Distribution -> installed version; distributions that are not installed are left out."""
    found = {}
    for name in names:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def write_manifest(path: str | Path, kind: str, digest: str, **fields: Any) -> None:
    """Write the manifest of a big output.

    Args:
        path: The manifest's path.
        kind: What the output is, e.g. "features"; readers check it.
        digest: The output's content digest: equal for equal content.
        **fields: JSON-able facts that readers need (shapes, counts, versions).
    """
    write_json(path, {"kind": kind, "version": MANIFEST_VERSION, "digest": digest, **fields})


def read_manifest(path: str | Path, kind: str) -> Mapping[str, Any]:
    """The manifest at `path`.

    Raises:
        StoreError: The manifest is missing, not JSON, of another kind or of another version.
    """
    marks = {"kind": kind, "version": MANIFEST_VERSION}
    make = "the rule that makes it (snakemake lists it with -n)"
    return read_json(path, f"the manifest of {kind}", marks, make=make)
