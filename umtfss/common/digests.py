"""Digests of files, values, folders and code."""

import ast
import hashlib
import json
import os
from functools import cache
from pathlib import Path
from typing import Any

from umtfss.common.errors import StoreError
from umtfss.common.files import PACKAGE_ROOT, PACKAGED

PACKAGE = "umtfss"
PROSE = ("umtfss/common/errors.py", "umtfss/common/log.py")  # their texts decide no result
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

    The digest is cheap enough for every run. An added or removed file changes it, and so does a
    file of a new size; new content of the same size does not. Times are left out: a copy changes
    them.
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


@cache
def digest_code(*roots: str, project: Path = PACKAGE_ROOT) -> str:
    """A short digest of source files and of everything that they import from the package.

    Every rule passes the digest of its script as a parameter, so an edit reruns the jobs whose
    results it can change, and no others. Only the syntax tree counts; comments, docstrings,
    descriptions of settings and layout do not. A process reads every source once.

    Args:
        *roots: Files, relative to the project's root: a script, and the modules that the script
            imports by name, such as a meta-learner's.
        project: The project's root.

    Raises:
        StoreError: A file does not exist; a renamed file cannot go unnoticed.
    """
    closure = code_closure(*roots, project=project)
    return digest_json({_name(path, project): _digest_content(path) for path in closure})[:16]


def code_closure(*roots: str, project: Path = PACKAGE_ROOT) -> list[Path]:
    """The import closure of source files: every file that decides what they do, sorted.

    The closure holds the sources, the modules of the package that they import directly or through
    other modules, and the data files (YAML, templates) in the folders of all these modules. Imports
    within a function count; imports for type checkers alone do not. Modules that decide no result
    (`PROSE`) are left out.

    Args:
        *roots: Files, relative to the project's root.
        project: The project's root.

    Raises:
        StoreError: A file does not exist.
    """
    found: set[Path] = set()
    waiting = [_place(root, project) for root in roots]
    while waiting:
        path = waiting.pop()
        if path in found or _name(path, project) in PROSE:
            continue
        if not path.is_file():
            raise StoreError(
                f"the source {_name(path, project)} does not exist",
                expected="a file of the project",
                fix="correct the name of the rule's script, or `modules` of its job",
            )
        found.add(path)
        if path.suffix == ".py":
            waiting += _imported(path, project)
            waiting += _data_files(path.parent)
    return sorted(found)


def _place(name: str, project: Path) -> Path:
    """The file of a name relative to the project's root; a wheel has scripts in the package."""
    packaged = project / PACKAGED / name
    return packaged if packaged.is_file() else project / name


def _name(path: Path, project: Path) -> str:
    """The name of a file, the same in a checkout and in a wheel."""
    packaged = project / PACKAGED
    root = packaged if path.is_relative_to(packaged) else project
    return path.relative_to(root).as_posix()


def _data_files(folder: Path) -> list[Path]:
    """The data files of a package's folder and of its sub-folders that hold no modules."""
    if not (folder / "__init__.py").is_file():
        return []
    found, waiting = [], [folder]
    while waiting:
        for one in waiting.pop().iterdir():
            if one.name.startswith((".", "__")) or one.match(PACKAGED):
                continue
            if one.is_dir() and not (one / "__init__.py").exists():
                waiting.append(one)
            elif one.is_file() and one.suffix != ".py":
                found.append(one)
    return found


@cache
def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_bytes())


@cache
def _imported(path: Path, project: Path) -> tuple[Path, ...]:
    """The files that a source imports from the package at run time, `__init__.py` included."""
    names: set[str] = set()
    waiting: list[ast.AST] = [_tree(path)]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.If) and _is_for_type_checkers(node.test):
            waiting += node.orelse
            continue
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):  # never a relative one: ruff refuses them
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
        waiting += ast.iter_child_nodes(node)
    files: set[Path] = set()
    for name in names:
        parts = name.split(".")
        if parts[0] != PACKAGE:
            continue
        for end in range(1, len(parts) + 1):
            place = project.joinpath(*parts[:end])
            files.update((place / "__init__.py", place.with_suffix(".py")))
    return tuple(sorted(file for file in files if file.is_file()))


def _is_for_type_checkers(test: ast.expr) -> bool:
    """Whether a condition is `TYPE_CHECKING` or `typing.TYPE_CHECKING`, which never holds."""
    name = test.attr if isinstance(test, ast.Attribute) else getattr(test, "id", None)
    return name == "TYPE_CHECKING"


@cache
def _digest_content(path: Path) -> str:
    """The sha256 of a file's bytes, or of the syntax tree of a Python file."""
    if path.suffix != ".py":
        return digest_file(path)
    return hashlib.sha256(repr(_plain(_tree(path))).encode()).hexdigest()


def _plain(node: Any) -> Any:
    """A syntax tree as tuples, without prose, the same in every version of Python.

    Empty fields are left out: versions of Python differ in them.
    """
    if isinstance(node, list):
        return [_plain(one) for one in node]
    if not isinstance(node, ast.AST):
        return node
    fields = dict(ast.iter_fields(node))
    if isinstance(node, WITH_DOCSTRING) and ast.get_docstring(node) is not None:
        fields["body"] = fields["body"][1:]
    if isinstance(node, ast.Call) and getattr(node.func, "id", None) == "Field":
        fields["keywords"] = [one for one in node.keywords if one.arg != "description"]
    kept = ((name, one) for name, one in fields.items() if one is not None and one != [])
    return (type(node).__name__, *((name, _plain(one)) for name, one in kept))
