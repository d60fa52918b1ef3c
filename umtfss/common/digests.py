"""Digests of files, values, folders and code."""

import ast
import hashlib
import json
import os
from functools import cache
from pathlib import Path
from typing import Any

from umtfss.common.errors import StoreError
from umtfss.common.files import PACKAGE_ROOT

PACKAGE = "umtfss"
PROSE = ("common/errors.py", "common/log.py")  # their texts decide no result
WITH_DOCSTRING = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


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


def digest_code(*roots: str) -> str:
    """A short digest of some sources and of all that they import from the package.

    Every rule passes that of its script as a parameter, so that an edit reruns what it decides,
    and nothing else. What counts is the syntax tree: comments, docstrings and layout do not.

    Args:
        *roots: Files, relative to the project's root: a script, and modules that it imports by
            name, such as that of a meta-learner.

    Raises:
        StoreError: A file does not exist, so that a renamed one cannot go unnoticed.
    """
    digest = hashlib.sha256()
    for path in code_closure(*roots):
        digest.update(path.relative_to(PACKAGE_ROOT).as_posix().encode())
        digest.update(_code(path) if path.suffix == ".py" else path.read_bytes())
    return digest.hexdigest()[:16]


def code_closure(*roots: str) -> list[Path]:
    """The files that decide what some sources do, sorted.

    Beside the sources these are the modules of the package that they import, be it within a
    function, those that these import, and the files of other kinds (YAML, templates) that lie in
    the folders of these modules. Imports for type checkers alone do not count. Modules that decide
    no result (`PROSE`) are left out.

    Args:
        *roots: Files, relative to the project's root.

    Raises:
        StoreError: A file does not exist.
    """
    found: set[Path] = set()
    waiting = [PACKAGE_ROOT / root for root in roots]
    while waiting:
        path = waiting.pop()
        if path in found:
            continue
        if not path.is_file():
            raise StoreError(
                f"the source {path.relative_to(PACKAGE_ROOT)} does not exist",
                expected="a file of the project",
                fix="correct the path in the rule's code(...)",
            )
        found.add(path)
        if path.suffix == ".py":
            waiting += [one for one in _imported(path) if not one.as_posix().endswith(PROSE)]
            waiting += _data_files(path.parent)
    return sorted(found)


def _data_files(folder: Path) -> list[Path]:
    """The files that are no code in a folder of the package and in its folders without modules."""
    if not (folder / "__init__.py").is_file():
        return []
    own = [one for one in folder.iterdir() if not one.name.startswith(("_", "."))]
    plain = [one for one in own if one.is_dir() and not (one / "__init__.py").exists()]
    files = [*own, *(file for one in plain for file in one.iterdir())]
    return [file for file in files if file.is_file() and file.suffix != ".py"]


@cache
def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


@cache
def _imported(path: Path) -> tuple[Path, ...]:
    """The files of the package that a source imports when it runs, packages' own included."""
    names: set[str] = set()
    waiting: list[ast.AST] = [_tree(path)]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            waiting += node.orelse
            continue
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
        waiting += ast.iter_child_nodes(node)
    files: set[Path] = set()
    for name in names:
        parts = name.split(".")
        if parts[0] != PACKAGE:
            continue
        folders = [PACKAGE_ROOT.joinpath(*parts[:end]) for end in range(1, len(parts) + 1)]
        files.update(folder / "__init__.py" for folder in folders if folder.is_dir())
        module = folders[-1].with_suffix(".py")
        if module.is_file():
            files.add(module)
    return tuple(sorted(files))


@cache
def _code(path: Path) -> bytes:
    """The syntax tree of a source without docstrings, the same in every version of Python."""
    return repr(_plain(_tree(path))).encode()


def _plain(value: Any) -> Any:
    """A syntax tree as tuples; fields that are empty are left out, as versions differ in them."""
    if isinstance(value, list):
        return [_plain(one) for one in value]
    if not isinstance(value, ast.AST):
        return value
    fields = []
    for name, one in ast.iter_fields(value):
        if (
            name == "body"
            and isinstance(value, WITH_DOCSTRING)
            and ast.get_docstring(value) is not None
        ):
            one = one[1:]
        if one not in (None, []):
            fields.append((name, _plain(one)))
    return (type(value).__name__, *fields)
