"""What an edit makes stale, in a made-up project."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from umtfss.common.digests import (
    code_closure,
    digest_code,
    digest_file,
    digest_json,
    digest_listing,
)
from umtfss.common.errors import StoreError
from umtfss.common.files import PACKAGE_ROOT, PACKAGED

SOURCES = {
    "workflow_scripts/train.py": '"""Train."""\nfrom umtfss.models.build import build\nbuild(1)\n',
    "umtfss/__init__.py": '"""The package."""\n',
    "umtfss/common/__init__.py": "",
    "umtfss/common/errors.py": "class Problem(Exception):\n    text = 'a'\n",
    "umtfss/models/__init__.py": "",
    "umtfss/models/build.py": (
        '"""Build."""\n'
        "from typing import TYPE_CHECKING\n"
        "from umtfss.common.errors import Problem\n"
        "if TYPE_CHECKING:\n"
        "    from umtfss.plan import plan\n"
        "else:\n"
        "    import umtfss.models.width\n"
        "if not TYPE_CHECKING:\n"
        "    import umtfss.models.depth\n"
        "def build(x: int) -> int:\n"
        '    """Build it."""\n'
        "    from umtfss.tables import write  # late\n"
        "    return x\n"
    ),
    "umtfss/models/width.py": "WIDTH = Field(3, ge=1, description='width')\n",
    "umtfss/models/depth.py": "",
    "umtfss/models/other.py": "import umtfss.nothing_of_ours\n",
    "umtfss/plan/__init__.py": "",
    "umtfss/plan/plan.py": "",
    "umtfss/tables/__init__.py": "",
    "umtfss/tables/write.py": "",
    "umtfss/tables/numbers.yaml": "1",
    "umtfss/tables/templates/deep/a.jinja": "a",
    "umtfss/tables/.hidden": "",
    "umtfss/tables/__pycache__/write.pyc": "",
}
TRAIN = "workflow_scripts/train.py"
BUILD = "umtfss/models/build.py"


@pytest.fixture
def digest_with(tmp_path: Path) -> Callable[..., str]:
    """What digests `TRAIN` in a project with some files changed; None: a file is absent."""

    def digest(changed: dict[str, str | None] | None = None, *more: str) -> str:
        project = tmp_path / f"project{len(list(tmp_path.iterdir()))}"
        for name, text in {**SOURCES, **(changed or {})}.items():
            if text is not None:
                (project / name).parent.mkdir(parents=True, exist_ok=True)
                (project / name).write_text(text, encoding="utf-8")
        return digest_code(TRAIN, *more, project=project)

    return digest


def test_the_closure_holds_what_runs_and_nothing_else(tmp_path):
    for name, text in SOURCES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    found = {
        path.relative_to(tmp_path).as_posix() for path in code_closure(TRAIN, project=tmp_path)
    }
    absent = {
        "umtfss/common/errors.py",  # prose
        "umtfss/models/other.py",
        "umtfss/plan/__init__.py",  # for type checkers
        "umtfss/plan/plan.py",
        "umtfss/tables/.hidden",
        "umtfss/tables/__pycache__/write.pyc",
    }
    assert found == set(SOURCES) - absent


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        (TRAIN, "Train.", "Trains."),
        (BUILD, "Build it.", "Builds it."),
        (BUILD, "# late", "# imported late"),
        (BUILD, "    return x\n", "\n    return (\n        x\n    )\n"),
        ("umtfss/models/width.py", "'width'", "'width of the model'"),
        ("umtfss/common/errors.py", "'a'", "'b'"),
        ("umtfss/plan/plan.py", "", "x = 1"),
        ("umtfss/models/other.py", "import", "import umtfss.gone\nimport"),
        ("umtfss/tables/.hidden", "", "x"),
    ],
)
def test_prose_and_foreign_sources_make_nothing_stale(digest_with, file, old, new):
    changed = SOURCES[file].replace(old, new, 1)
    assert changed != SOURCES[file]
    assert digest_with({file: changed}) == digest_with()


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        (TRAIN, "build(1)", "build(2)"),
        (BUILD, "return x", "return -x"),
        (BUILD, "return x", '"""A."""\n    """B."""\n    return x'),
        ("umtfss/__init__.py", "\n", "\nx = 1\n"),
        ("umtfss/models/width.py", "ge=1", "ge=0"),
        ("umtfss/models/width.py", "3", "3.0"),
        ("umtfss/models/depth.py", "", "x = 'ä'"),
        ("umtfss/tables/write.py", "", "x = None"),  # imported within a function
        ("umtfss/tables/numbers.yaml", "1", "2"),
        ("umtfss/tables/templates/deep/a.jinja", "a", "b"),
    ],
)
def test_code_and_its_data_files_make_stale(digest_with, file, old, new):
    changed = SOURCES[file].replace(old, new, 1)
    assert changed != SOURCES[file]
    assert digest_with({file: changed}) != digest_with()


def test_a_source_imported_by_name_counts_where_it_is_named(digest_with):
    named = "umtfss/models/other.py"
    assert digest_with({}, named) != digest_with()
    assert digest_with({named: "x = 1"}, named) != digest_with({}, named)


def test_a_renamed_source_is_stale_and_a_lost_one_refused(digest_with):
    renamed = {
        "umtfss/models/depth.py": None,
        "umtfss/models/height.py": SOURCES["umtfss/models/depth.py"],
        BUILD: SOURCES[BUILD].replace("depth", "height"),
    }
    assert digest_with(renamed) != digest_with({BUILD: renamed[BUILD]}, "umtfss/models/depth.py")
    with pytest.raises(StoreError, match=r"umtfss/models/gone\.py does not exist"):
        digest_with({}, "umtfss/models/gone.py")


def test_a_wheel_with_the_scripts_in_the_package_has_the_digests_of_a_checkout(
    digest_with, tmp_path
):
    expected = digest_with({})
    packaged = {name.replace("workflow_scripts", f"{PACKAGED}/workflow_scripts"): text
                for name, text in SOURCES.items()}  # fmt: skip
    for name, text in {**packaged, f"{PACKAGED}/config.yaml": "seed: 1"}.items():
        path = tmp_path / "wheel" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    assert digest_code(TRAIN, project=tmp_path / "wheel") == expected


def test_every_script_of_the_project_has_a_digest():
    scripts = sorted((PACKAGE_ROOT / "workflow_scripts").glob("*.py"))
    assert len(scripts) > 20
    assert len({digest_code(f"workflow_scripts/{one.name}") for one in scripts}) == len(scripts)


def test_digest_of_json_ignores_the_order_of_keys():
    assert digest_json({"a": 1, "b": [2]}) == digest_json({"b": [2], "a": 1})
    assert digest_json({"a": 1}) != digest_json({"a": 2})


def test_digest_of_a_file(tmp_path):
    (tmp_path / "f").write_bytes(b"abc")
    expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert digest_file(tmp_path / "f") == expected


def test_a_listing_shows_what_came_went_or_was_exchanged(tmp_path):
    folder = tmp_path / "photos"
    assert digest_listing(folder) == ""
    (folder / "deep").mkdir(parents=True)
    digests = [digest_listing(folder)]
    for name, content in (("b", "1"), ("deep/a", "1"), ("b", "22"), ("deep/b", "22")):
        (folder / name).write_text(content)
        digests.append(digest_listing(folder))
    (folder / "b").unlink()
    digests.append(digest_listing(folder))
    assert len(set(digests)) == len(digests)
    copy = shutil.copytree(folder, tmp_path / "copy")
    os.utime(copy / "deep/a", (0, 0))
    (copy / ".hidden").write_text("x")
    assert digest_listing(copy) == digests[-1]
