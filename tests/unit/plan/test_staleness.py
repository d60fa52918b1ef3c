"""What a changed key, and a changed module, makes stale."""

import ast
from functools import cache

import grimp
import pytest

from tests import staleness
from tests.rule_files import rule_texts
from umtfss.common.digests import PROSE, code_closure
from umtfss.common.files import PACKAGE_ROOT


def test_the_page_says_what_every_key_makes_stale():
    """Where this fails by intent: `python -m tests.staleness`, and read the difference."""
    assert staleness.TABLE.read_text() == staleness.table()


def test_no_key_is_left_out_unsaid():
    named = {".".join(path) for path, _ in staleness.keys(staleness.tiny())}
    left = named - set(staleness.shown_keys()) - set(staleness.FIXED)
    unused = ("datasets.toys.", "features.other.", "supervised.toys.", "fine_tuning.toys.")
    alike = {key for stage in staleness.STAGES for key in left if key.startswith(stage)}
    assert {key for key in left - alike if not key.startswith(unused)} == set()
    first = {key.removeprefix("training.shapes.") for key in named if key.startswith("training.")}
    assert {key.split(".", 2)[2] for key in alike} - {"models"} <= first
    assert set(staleness.FIXED) <= named


def test_every_rule_is_made_stale_by_a_key():
    stale = {rule for line in staleness.TABLE.read_text().splitlines() if line.startswith("| ")
             for rule in line.split("|")[3].replace(" ", "").split(",")}  # fmt: skip
    # tiny draws its images and diffuses no features; two pictures show the numbers of tables
    idle = {"digest_arrows", "download_dataset", "diffuse_features", "draw_rule_graph", "map_pool"}
    assert set(rule_texts()) - stale == idle | {"draw_label_ratios", "draw_table4_heatmap"}


@cache
def graph() -> grimp.ImportGraph:
    return grimp.build_graph("umtfss", exclude_type_checking_imports=True)


@pytest.mark.parametrize("rule", sorted(rule_texts()))
def test_a_module_makes_stale_what_imports_it_and_nothing_else(rule):
    """The digest's files, against the import graph of another library."""
    script = PACKAGE_ROOT / f"workflow_scripts/{rule}.py"
    roots = {
        name
        for node in ast.walk(ast.parse(script.read_text()))
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("umtfss")
        for name in (str(node.module), *(f"{node.module}.{alias.name}" for alias in node.names))
        if name in graph().modules
    }
    modules = roots.union(*(graph().find_upstream_modules(root) for root in roots))
    parents = {
        name.rsplit(".", end)[0] for name in modules for end in range(1, name.count(".") + 1)
    }
    files = set()
    for name in modules | parents:
        path = name.replace(".", "/")
        package = (PACKAGE_ROOT / path / "__init__.py").is_file()
        files.add(f"{path}/__init__.py" if package else f"{path}.py")
    closure = {path.relative_to(PACKAGE_ROOT).as_posix() for path in code_closure(str(script))}
    sources = {path for path in closure if path.endswith(".py") and path.startswith("umtfss/")}
    assert sources == files - set(PROSE)
